//! What an operator may do where there are too few descriptors: every way that is named is enough.
//!
//! Must not: look at the system. Used on the main thread, at start.

use std::fmt;
use std::num::NonZeroUsize;

use super::descriptors::{FIXED, Limits, PER_WORKER, PerPort};
use super::{CountSource, WorkerCount};
use crate::hosts::may;

/// Flags to lower, with the most that they may be together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lower {
    flags: Vec<&'static str>,
    to: usize,
}

/// The ways to need no more descriptors than there are, each enough by itself: fewer workers, fewer
/// connections or, where neither will do, both. Only flags that were given are named: what was not
/// asked for is at its least already.
pub(super) fn ways(
    limits: Limits,
    workers: PerPort<WorkerCount>,
    asked: PerPort<Option<NonZeroUsize>>,
) -> Vec<Vec<Lower>> {
    let (workers, connections) = (of_workers(workers), of_connections(asked));
    let free = limits.descriptors.saturating_sub(FIXED);
    let fewer_workers = workers.lower(free, connections.needed);
    let fewer_connections = connections.lower(free, workers.needed);
    if fewer_workers.is_none() && fewer_connections.is_none() {
        let both =
            workers.lower(free, connections.least).zip(connections.lower(free, workers.least));
        // As few workers as can be, so that the connections have the rest.
        let both = both.map(|(few, most)| vec![Lower { to: workers.least_of_given, ..few }, most]);
        return both.into_iter().collect();
    }
    [fewer_workers, fewer_connections].into_iter().flatten().map(|lower| vec![lower]).collect()
}

/// What takes descriptors, and could take fewer.
struct Takers {
    /// The flags that were given.
    flags: Vec<&'static str>,
    /// Descriptors of one.
    each: usize,
    /// Descriptors of all.
    needed: usize,
    /// Descriptors of all if those of the flags were as few as possible.
    least: usize,
    /// How many those of the flags are at least.
    least_of_given: usize,
}

impl Takers {
    /// The most that the flags may say while others take so many of the free descriptors.
    fn lower(&self, free: usize, others: usize) -> Option<Lower> {
        let more = free.checked_sub(others)?.checked_sub(self.least)?;
        let to = self.least_of_given + more / self.each;
        (!self.flags.is_empty()).then(|| Lower { flags: self.flags.clone(), to })
    }
}

fn of_workers(workers: PerPort<WorkerCount>) -> Takers {
    let ports = [("shards", workers.tcp, 1), ("http-workers", workers.http, may::LEAST_WORKERS)];
    let given = ports.iter().filter(|(_, workers, _)| workers.source == CountSource::Flag);
    let flags: Vec<_> = given.clone().map(|(flag, ..)| *flag).collect();
    let least_of_given: usize = given.clone().map(|(.., least)| least).sum();
    let count = workers.tcp.count.saturating_add(workers.http.count);
    let of_given = given.fold(0_usize, |sum, (_, workers, _)| sum.saturating_add(workers.count));
    let least = count - of_given + least_of_given;
    Takers {
        flags,
        each: PER_WORKER,
        needed: count.saturating_mul(PER_WORKER),
        least: least.saturating_mul(PER_WORKER),
        least_of_given,
    }
}

fn of_connections(asked: PerPort<Option<NonZeroUsize>>) -> Takers {
    let ports = [("max-tcp-connections", asked.tcp), ("max-http-connections", asked.http)];
    let given = ports.iter().filter(|(_, asked)| asked.is_some());
    let flags: Vec<_> = given.map(|(flag, _)| *flag).collect();
    let count = |asked: Option<NonZeroUsize>| asked.map_or(1, NonZeroUsize::get);
    let needed = count(asked.tcp).saturating_add(count(asked.http));
    let least_of_given = flags.len();
    Takers { flags, each: 1, needed, least: ports.len(), least_of_given }
}

impl fmt::Display for Lower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<_> = self.flags.iter().map(|flag| format!("--{flag}")).collect();
        let in_all = if flags.len() > 1 { " in all" } else { "" };
        write!(f, "{} to {}{in_all}", flags.join(" and "), self.to)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Cpus, Failure, plan};
    use super::*;
    use crate::config::Config;

    const FLAGS: [&str; 4] =
        ["shards", "http-workers", "max-tcp-connections", "max-http-connections"];

    /// What the daemon decides by these values of [`FLAGS`], 0 for one that is not given, on a host
    /// with 64 cores.
    fn decide(values: [usize; 4], descriptors: usize) -> Result<(), Failure> {
        let words = FLAGS.iter().zip(values).map(|(flag, value)| format!("--{flag}={value}"));
        let (config, _) = Config::from_args(words.map(OsString::from)).unwrap();
        let cpus = Cpus { mask: (0..64).collect(), quota: None };
        plan(&config, &cpus, Limits { descriptors, coroutines: usize::MAX }).map(drop)
    }

    /// The values after the advice was followed; of two flags `first` gets as much as it can.
    fn follow(mut values: [usize; 4], way: &[Lower], first: usize) -> [usize; 4] {
        for Lower { flags, to } in way {
            let at: Vec<_> =
                flags.iter().map(|flag| FLAGS.iter().position(|f| f == flag).unwrap()).collect();
            assert!(at.iter().all(|&at| values[at] > 0), "a flag that was not given is named");
            let sum = at.iter().map(|&at| values[at]).sum::<usize>();
            assert!(*to < sum && *to >= at.len(), "{flags:?} to {to} lowers nothing of {values:?}");
            match at[..] {
                [one] => values[one] = *to,
                [a, b] => {
                    let (much, little) = if first == 0 { (a, b) } else { (b, a) };
                    // An HTTP port has two workers at least, whatever the flag says.
                    let least = if FLAGS[little] == "http-workers" { 2 } else { 1 };
                    (values[much], values[little]) = (to - least, least);
                }
                _ => unreachable!("two flags of a kind"),
            }
        }
        values
    }

    #[test]
    fn advice_about_descriptors_is_enough_when_followed() {
        let mut advised = 0;
        for descriptors in [100, 163, 170, 300, 1_024, 4_096, 65_536] {
            for case in 0..4_usize.pow(4) {
                let pick = |place: u32, values: [usize; 4]| values[case / 4_usize.pow(place) % 4];
                let values = [
                    pick(0, [0, 1, 64, 200]),
                    pick(1, [0, 2, 64, 1_000]),
                    pick(2, [0, 10, 3_900, 100_000]),
                    pick(3, [0, 10, 2_000, 100_000]),
                ];
                let Err(failure) = decide(values, descriptors) else { continue };
                let Failure::Descriptors { needed, ways, .. } = &failure else {
                    panic!("{failure}");
                };
                decide(values, *needed).expect("as many descriptors as it said are enough");
                assert!(decide(values, needed - 1).is_err(), "fewer than it said are enough");
                for way in ways {
                    advised += 1;
                    for first in [0, 1] {
                        let lowered = follow(values, way, first);
                        let done = decide(lowered, descriptors);
                        assert!(done.is_ok(), "{values:?} {failure} {lowered:?}: {done:?}");
                    }
                }
            }
        }
        assert!(advised > 500, "{advised}");
    }

    #[test]
    fn advice_names_only_what_was_given() {
        for (values, want) in [
            ([64, 64, 0, 0], "or lower --shards and --http-workers to 125 in all"),
            ([200, 0, 0, 0], "or lower --shards to 123"),
            ([0, 0, 4_000, 0], "or lower --max-tcp-connections to 3935"),
            (
                [64, 0, 2_000, 1_000],
                "or lower --shards to 30, or lower --max-tcp-connections and --max-http-connections \
                 to 1920 in all",
            ),
            ([200, 0, 4_090, 0], "or lower --shards to 1 and --max-tcp-connections to 3935"),
        ] {
            let text = decide(values, 4_096).unwrap_err().to_string();
            assert!(text.ends_with(want), "{text}");
        }
        let text = decide([0; 4], 100).unwrap_err().to_string();
        assert!(text.ends_with("or --ulimit nofile= (containers)"), "{text}");
    }
}
