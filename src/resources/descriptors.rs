//! How many workers and connections the file descriptors allow.
//!
//! What an operator asked for is kept; what was not asked for shrinks: first the connections of a port,
//! down to a quarter of the descriptors, then the workers, down to the least, then the connections
//! again, down to one. Only then the start fails.
//!
//! Must not: look at the system. Used on the main thread, at start.

use std::num::NonZeroUsize;

use super::Failure;

/// Descriptors kept for the log, the listeners, and connections that are only told "full".
pub(super) const FIXED: usize = 64;
/// Descriptors kept for each worker: rings, epolls, eventfds.
pub(super) const PER_WORKER: usize = 32;

/// A value for each port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PerPort<T> {
    pub(super) tcp: T,
    pub(super) http: T,
}

/// What bounds the number of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Descriptors the process may hold.
    pub(super) descriptors: usize,
    /// Coroutines for HTTP connections; `usize::MAX` where none is spent on them.
    pub(super) coroutines: usize,
}

impl Limits {
    /// As many workers as `wanted` if the connections that were `asked` for still have their
    /// descriptors then, fewer if not; never fewer than `least`.
    pub(super) fn workers(
        self,
        wanted: PerPort<usize>,
        least: PerPort<usize>,
        asked: PerPort<Option<NonZeroUsize>>,
    ) -> PerPort<usize> {
        let taken =
            |asked: Option<NonZeroUsize>| asked.map_or(self.descriptors / 4, NonZeroUsize::get);
        let taken = FIXED.saturating_add(taken(asked.tcp)).saturating_add(taken(asked.http));
        let most = self.descriptors.saturating_sub(taken) / PER_WORKER;
        // Half for each port, and what the other one does not want.
        let http_share = (most / 2).max(most.saturating_sub(wanted.tcp));
        let http_most = http_share.min(most.saturating_sub(least.tcp));
        let http = wanted.http.min(http_most).max(least.http);
        let tcp = wanted.tcp.min(most.saturating_sub(http)).max(least.tcp);
        PerPort { tcp, http }
    }

    /// The connections of each port beside so many workers: what is `asked` for, and of the rest three
    /// fifths for TCP and two for HTTP.
    ///
    /// # Errors
    /// [`Failure::Descriptors`] or [`Failure::Maps`].
    pub(super) fn connections(
        self,
        workers: usize,
        asked: PerPort<Option<NonZeroUsize>>,
    ) -> Result<PerPort<usize>, Failure> {
        let ours = workers.saturating_mul(PER_WORKER).saturating_add(FIXED);
        let free = self.descriptors.saturating_sub(ours);
        let (tcp, http) = (asked.tcp.map(NonZeroUsize::get), asked.http.map(NonZeroUsize::get));
        if let Some(asked) = http.filter(|&asked| asked > self.coroutines) {
            return Err(Failure::Maps { asked, most: self.coroutines });
        }
        // What neither side asked for is the other's, and never less than one connection.
        let least = tcp.unwrap_or(1).saturating_add(http.unwrap_or(1));
        if least > free {
            let needed = least.saturating_add(ours);
            return Err(Failure::Descriptors { needed, limit: self.descriptors, ways: Vec::new() });
        }
        let http_share = match tcp {
            Some(tcp) => free - tcp,
            // nsqds stay connected, and many consumers come only to ask.
            None => (free * 2 / 5).max(1),
        };
        let http = http.unwrap_or(http_share.min(self.coroutines));
        let tcp = tcp.unwrap_or(free - http);
        if http == 0 {
            return Err(Failure::Maps { asked: 1, most: 0 });
        }
        Ok(PerPort { tcp, http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: usize = 0;

    fn asked(tcp: usize, http: usize) -> PerPort<Option<NonZeroUsize>> {
        PerPort { tcp: NonZeroUsize::new(tcp), http: NonZeroUsize::new(http) }
    }

    #[test]
    fn connections_share_the_descriptors() {
        // Two TCP and two HTTP workers: 64 + 4 × 32 = 192 descriptors are the daemon's own.
        let limits = |descriptors| Limits { descriptors, coroutines: usize::MAX };
        let few = |coroutines| Limits { coroutines, ..limits(1_192) };
        let too_few = |needed, limit| Err(Failure::Descriptors { needed, limit, ways: Vec::new() });
        for (limits, tcp, http, want) in [
            (limits(1_192), NONE, NONE, Ok((600, 400))),
            (limits(1_193), NONE, NONE, Ok((601, 400))),
            (limits(1_192), 900, NONE, Ok((900, 100))),
            (limits(1_192), NONE, 1, Ok((999, 1))),
            (limits(1_192), 10, 20, Ok((10, 20))),
            (limits(1_192), 500, 500, Ok((500, 500))),
            (limits(1_192), 500, 501, too_few(1_193, 1_192)),
            (limits(1_192), 1_000, NONE, too_few(1_193, 1_192)),
            (limits(1_192), usize::MAX, NONE, too_few(usize::MAX, 1_192)),
            (limits(194), NONE, NONE, Ok((1, 1))),
            (limits(193), NONE, NONE, too_few(194, 193)),
            (few(100), NONE, NONE, Ok((900, 100))),
            (few(100), 200, NONE, Ok((200, 100))),
            (few(100), NONE, 101, Err(Failure::Maps { asked: 101, most: 100 })),
            (few(0), NONE, NONE, Err(Failure::Maps { asked: 1, most: 0 })),
        ] {
            let got = limits.connections(4, asked(tcp, http));
            assert_eq!(got.map(|got| (got.tcp, got.http)), want, "{limits:?} {tcp} {http}");
        }
        for workers in [1 << 40, 1 << 59, usize::MAX] {
            let got = limits(1_192).connections(workers, asked(NONE, NONE));
            assert!(matches!(got, Err(Failure::Descriptors { .. })), "{workers} workers");
        }
    }

    #[test]
    fn workers_shrink_when_connections_would_have_no_descriptors() {
        let check =
            |descriptors, wanted: (usize, usize), least: (usize, usize), connections, want| {
                let limits = Limits { descriptors, coroutines: usize::MAX };
                let pair = |(tcp, http)| PerPort { tcp, http };
                let (tcp, http) = connections;
                let got = limits.workers(pair(wanted), pair(least), asked(tcp, http));
                assert_eq!(got, pair(want), "{descriptors} {wanted:?} {least:?} {connections:?}");
            };
        // Enough for all: half of the descriptors less 64, and 32 for each.
        check(1_024, (2, 2), (1, 2), (NONE, NONE), (2, 2));
        check(1_024, (7, 7), (1, 2), (NONE, NONE), (7, 7));
        check(1_024, (64, 64), (1, 2), (NONE, NONE), (7, 7));
        check(1_024, (3, 64), (1, 2), (NONE, NONE), (3, 11));
        check(1_024, (64, 3), (1, 2), (NONE, NONE), (11, 3));
        // What was asked for is never less.
        check(1_024, (64, 64), (64, 2), (NONE, NONE), (64, 2));
        check(1_024, (64, 64), (1, 64), (NONE, NONE), (1, 64));
        check(1_024, (64, 64), (64, 64), (NONE, NONE), (64, 64));
        // Connections that were asked for come before workers that were not.
        check(1_024, (4, 4), (1, 2), (500, 300), (3, 2));
        check(1_024, (4, 4), (1, 2), (500, 400), (1, 2));
        check(1_024, (64, 64), (1, 2), (10, 10), (15, 14));
        check(1_024, (4, 4), (1, 2), (usize::MAX, usize::MAX), (1, 2));
        // Too few for anything: the least.
        check(100, (8, 8), (1, 2), (NONE, NONE), (1, 2));
    }
}
