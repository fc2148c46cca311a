//! [`PeerLines`]: how many lines each peer causes, so that none of them fills the log.
//!
//! Must not: grow past [`limits::LOG_PEERS`], or log while it is locked. Any thread asks; the main
//! thread reports once a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::limits;

/// What a line is about. Each kind is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A connection of an nsqd begins or ends.
    Connection,
    /// What an nsqd registers and unregisters.
    Registration,
    /// A command or a request that was refused.
    Refusal,
    /// A request that changes something.
    Write,
    /// Any other request.
    Request,
}

impl Kind {
    /// For the report.
    fn label(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Registration => "registrations",
            Self::Refusal => "refusals",
            Self::Write => "POSTs",
            Self::Request => "requests",
        }
    }
}

/// The lines of the last second, by the peer's address and their kind.
#[derive(Debug, Default)]
pub struct PeerLines(Mutex<HashMap<(Option<IpAddr>, Kind), usize, RandomState>>);

impl PeerLines {
    /// Whether one more line about `peer` is logged; if not, it is counted.
    pub fn may_log(&self, peer: IpAddr, kind: Kind) -> bool {
        let mut lines = self.lock();
        let is_counted = lines.len() < limits::LOG_PEERS || lines.contains_key(&(Some(peer), kind));
        // Peers past that number share one count.
        let count = lines.entry((is_counted.then_some(peer), kind)).or_default();
        *count += 1;
        *count <= limits::LOG_RATE
    }

    /// Logs how many lines were left out, and begins to count anew; to be called once a second.
    pub fn report(&self) {
        let lines = std::mem::take(&mut *self.lock());
        let too_many = |&(_, count): &(_, usize)| count > limits::LOG_RATE;
        let mut left_out: Vec<_> = lines.into_iter().filter(too_many).collect();
        left_out.sort_unstable_by_key(|&(key, count)| (std::cmp::Reverse(count), key));
        let (shown, others) = left_out.split_at(left_out.len().min(SHOWN));
        for &((peer, kind), count) in shown {
            let (more, label) = (count - limits::LOG_RATE, kind.label());
            match peer {
                Some(peer) => tracing::warn!("LOG: and {more} more about {label} of {peer}"),
                None => tracing::warn!("LOG: and {more} more about {label} of other peers"),
            }
        }
        let more: usize = others.iter().map(|(_, count)| count - limits::LOG_RATE).sum();
        if more > 0 {
            tracing::warn!("LOG: and {more} more of {} peers and kinds", others.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(Option<IpAddr>, Kind), usize, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Peers and kinds that a report names.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> IpAddr {
        IpAddr::from(u32::try_from(number).expect("few").to_be_bytes())
    }

    fn logged(lines: &PeerLines, peer: IpAddr, kind: Kind, count: usize) -> usize {
        (0..count).filter(|_| lines.may_log(peer, kind)).count()
    }

    #[test]
    fn each_peer_and_kind_has_so_many_lines_a_second() {
        let lines = PeerLines::default();
        let most = limits::LOG_RATE;
        assert_eq!(logged(&lines, peer(1), Kind::Refusal, 10 * most), most);
        assert_eq!(logged(&lines, peer(1), Kind::Write, most), most, "of another kind");
        assert_eq!(logged(&lines, peer(2), Kind::Refusal, most), most, "of another peer");
        assert_eq!(logged(&lines, peer(2), Kind::Refusal, 1), 0);
        lines.report();
        assert_eq!(logged(&lines, peer(1), Kind::Refusal, 10 * most), most, "a second later");
    }

    #[test]
    fn peers_past_the_limit_share_a_count() {
        let lines = PeerLines::default();
        let new = |number| lines.may_log(peer(number), Kind::Request);
        assert_eq!((0..limits::LOG_PEERS).filter(|&number| new(number)).count(), limits::LOG_PEERS);
        let others = limits::LOG_PEERS..3 * limits::LOG_PEERS;
        assert_eq!(others.filter(|&number| new(number)).count(), limits::LOG_RATE);
        assert!(lines.lock().len() <= limits::LOG_PEERS + 1);
        assert!(new(1), "one that was known before");
    }
}
