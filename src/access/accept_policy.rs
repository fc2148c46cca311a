//! What a listener asks of a peer before its connection costs anything.
//!
//! Must not: hold a lock while it is not asked. Runs on the thread that accepts.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{AllowList, Denials, DenyReason, PerIpLimiter, PerIpPermit};

/// How a rule sends a peer away.
#[derive(Clone, Copy, Debug)]
pub struct Rejection {
    /// Where it is counted.
    pub reason: DenyReason,
    /// What the peer is told before its connection is closed.
    pub words: &'static [u8],
}

/// The rules of one listener.
#[derive(Debug)]
pub struct AcceptPolicy {
    denials: Arc<Denials>,
    allowed: Option<(AllowList, Rejection)>,
    limiter: Option<(Arc<PerIpLimiter>, Rejection)>,
}

impl AcceptPolicy {
    /// A policy that everyone may pass, and that counts in `denials` whom its rules send away.
    #[must_use]
    pub fn open(denials: Arc<Denials>) -> Self {
        Self { denials, allowed: None, limiter: None }
    }

    /// Only peers of `networks`, unless that list is empty.
    #[must_use]
    pub fn only(self, networks: &AllowList, away: Rejection) -> Self {
        let allowed = Some(networks).filter(|networks| !networks.is_empty());
        Self { allowed: allowed.map(|networks| (networks.clone(), away)), ..self }
    }

    /// At most so many connections of one address; without end when none.
    #[must_use]
    pub fn at_most(self, each: Option<NonZeroUsize>, away: Rejection) -> Self {
        Self { limiter: each.map(|each| (PerIpLimiter::new(each), away)), ..self }
    }

    /// Itself, if it has a rule; a listener without one asks nothing.
    #[must_use]
    pub fn if_it_matters(self) -> Option<Self> {
        (self.allowed.is_some() || self.limiter.is_some()).then_some(self)
    }

    /// Lets a peer in, with its place where permits are counted.
    ///
    /// # Errors
    /// What the peer is told that a rule sends away.
    pub fn admit(&self, peer: IpAddr) -> Result<Option<PerIpPermit>, &'static [u8]> {
        let turn_away = |away: &Rejection| {
            self.denials.count(away.reason, peer);
            away.words
        };
        if let Some((networks, away)) = &self.allowed
            && !networks.allow(peer)
        {
            return Err(turn_away(away));
        }
        match &self.limiter {
            Some((limiter, away)) => limiter.enter(peer).map(Some).ok_or_else(|| turn_away(away)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Rejection = Rejection { reason: DenyReason::TcpAllow, words: b"stranger" };
    const CROWDED: Rejection = Rejection { reason: DenyReason::TcpPerIp, words: b"crowded" };

    #[test]
    fn the_rules_hold_together_and_what_they_refuse_is_counted() {
        let denials = Arc::new(Denials::default());
        let networks = AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let policy = AcceptPolicy::open(Arc::clone(&denials))
            .only(&networks, STRANGER)
            .at_most(NonZeroUsize::new(1), CROWDED)
            .if_it_matters()
            .unwrap();
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let place = policy.admit(known).unwrap();
        assert!(place.is_some());
        assert_eq!(policy.admit(known).unwrap_err(), b"crowded");
        assert_eq!(policy.admit(unknown).unwrap_err(), b"stranger");
        drop(place);
        assert!(policy.admit(known).is_ok());
        let seen = [DenyReason::TcpAllow, DenyReason::TcpPerIp].map(|reason| denials.seen(reason));
        assert_eq!(
            seen.map(|seen| (seen.count, seen.last)),
            [(1, Some(unknown)), (1, Some(known))]
        );
    }

    #[test]
    fn a_door_without_rules_is_none() {
        let policy = AcceptPolicy::open(Arc::default()).only(&AllowList::default(), STRANGER);
        assert!(policy.at_most(None, CROWDED).if_it_matters().is_none());
    }
}
