//! The registry's metric families.
//!
//! Topics, channels and registrations are counted as they change: a scrape does not walk them. The
//! nsqds are walked (well below 1 ms for 8,000), since which are active depends on the time. How many producers
//! are tombstoned is not shown: tombstones expire by time too, and they are found only by a walk of
//! all topics. Must not: take a lock.

use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use crate::clock::Clock;
use crate::metrics::Families;
use crate::published;

impl Registry {
    /// Registers the families of what is registered. An nsqd is active if it was heard within
    /// `inactive_timeout`.
    pub fn register_metrics(
        self: &Arc<Self>,
        families: &mut Families,
        clock: &Clock,
        inactive_timeout: Duration,
    ) {
        let mut gauge = |name, help, read: fn(&Self) -> usize| {
            let registry = Arc::clone(self);
            families.gauge(name, help, &[], move || read(&registry));
        };
        gauge("musterd_topics", "Topics.", Self::topics);
        gauge("musterd_channels", "Channels of all topics.", Self::channels);
        let help = "Topics and channels that nsqds have registered, counted for each nsqd.";
        gauge("musterd_registrations", help, Self::registrations);
        let help = "The most registrations, and the most topics and channels, that there may be.";
        gauge("musterd_registrations_max", help, |registry| {
            registry.counts.capacity().registrations
        });
        let help = "The most registrations that one nsqd may have.";
        gauge("musterd_nsqd_registrations_max", help, |registry| {
            registry.counts.capacity().per_nsqd
        });
        let help = "Snapshots that were replaced and are not freed yet.";
        families.gauge("musterd_snapshots_retired", help, &[], published::retired);
        for (state, is_counted) in [("active", true), ("inactive", false)] {
            let (registry, clock) = (Arc::clone(self), clock.clone());
            let help = "Connected nsqds; active: heard within --inactive-producer-timeout.";
            families.gauge("musterd_nsqds", help, &[("state", state)], move || {
                let (now, mut count) = (clock.now(), 0_usize);
                registry.snapshots().each_node(|nsqd| {
                    count += usize::from(nsqd.is_active(now, inactive_timeout) == is_counted);
                });
                count
            });
        }
    }
}
