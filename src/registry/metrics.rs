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
        let help = "Registrations that were refused for a limit and are tried again.";
        gauge("musterd_registrations_waiting", help, Self::refused);
        let help = "The most registrations, and the most topics and channels, that there may be.";
        gauge("musterd_registrations_max", help, |all| all.counts.capacity.registrations);
        let help = "The most registrations that one nsqd may have.";
        gauge("musterd_nsqd_registrations_max", help, |all| all.counts.capacity.per_nsqd);
        let help = "Topics and channels that HTTP clients created and no nsqd has registered.";
        gauge("musterd_http_names", help, |all| all.counts.http_names());
        let help = "The most topics and channels that only HTTP clients may know.";
        gauge("musterd_http_names_max", help, |all| all.counts.capacity.http_names);
        let registry = Arc::clone(self);
        let help =
            "Topics and channels that nsqds had left behind and that made room for new ones.";
        families.counter("musterd_names_removed_total", help, &[], move || registry.removed());
        let registry = Arc::clone(self);
        let help = "How full the registry is, from 0 to 1: registrations, names or its memory, whichever is most.";
        families.gauge("musterd_registry_fill_ratio", help, &[], move || registry.fill_ratio());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::metrics::Format;
    use crate::protocol::peer_info::PeerInfo;
    use crate::registry::{Capacity, PendingChanges};
    use crate::snapshots::Snapshots;

    #[test]
    fn nsqds_are_counted_by_whether_they_were_heard_in_time() {
        let registry = Registry::new(Arc::new(Snapshots::default()), Capacity::default());
        let registry = Arc::new(registry);
        let second = Duration::from_secs(1);
        let start = Timestamp::from_unix_nanos(1);
        let clock = Clock::manual(start);
        let mut families = Families::default();
        registry.register_metrics(&mut families, &clock, second);
        let families = Arc::new(families);
        let check = |active: usize, inactive: usize| {
            let page = families.render(Format::Text);
            let shown: Vec<_> =
                page.lines().filter(|line| line.starts_with("musterd_nsqds{")).collect();
            let want = [("active", active), ("inactive", inactive)]
                .map(|(state, count)| format!("musterd_nsqds{{state=\"{state}\"}} {count}"));
            assert_eq!(shown, want);
        };
        check(0, 0);
        let mut changes = PendingChanges::default();
        let _clients = [(1, start), (2, start), (3, start + second)].map(|(port, heard)| {
            let body = testkit::nsqd::peer_info("a");
            let info = PeerInfo::decode(body.as_bytes()).expect("a sample");
            registry.identify(&mut changes, ([127, 0, 0, 1], port).into(), info, heard)
        });
        registry.commit(&mut changes);
        check(3, 0);
        clock.set(start + second);
        check(3, 0);
        clock.set(start + second + Duration::from_nanos(1));
        check(1, 2);
    }
}
