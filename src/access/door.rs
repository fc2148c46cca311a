//! What a listener asks of a peer before its connection costs anything.
//!
//! Must not: hold a lock while it is not asked. Runs on the thread that accepts.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{Crowd, Networks, Place, Reason, Refusals};

/// How a rule sends a peer away.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    /// Where it is counted.
    pub reason: Reason,
    /// What the peer is told before its connection is closed.
    pub words: &'static [u8],
}

/// The rules of one listener.
#[derive(Debug)]
pub struct Door {
    refusals: Arc<Refusals>,
    allowed: Option<(Networks, Away)>,
    crowd: Option<(Arc<Crowd>, Away)>,
}

impl Door {
    /// A door that everyone may pass, and that counts in `refusals` whom its rules send away.
    #[must_use]
    pub fn open(refusals: Arc<Refusals>) -> Self {
        Self { refusals, allowed: None, crowd: None }
    }

    /// Only peers of `networks`, unless that list is empty.
    #[must_use]
    pub fn only(self, networks: &Networks, away: Away) -> Self {
        let allowed = Some(networks).filter(|networks| !networks.is_empty());
        Self { allowed: allowed.map(|networks| (networks.clone(), away)), ..self }
    }

    /// At most so many connections of one address; without end when none.
    #[must_use]
    pub fn at_most(self, each: Option<NonZeroUsize>, away: Away) -> Self {
        Self { crowd: each.map(|each| (Crowd::new(each), away)), ..self }
    }

    /// Itself, if it has a rule; a listener without one asks nothing.
    #[must_use]
    pub fn if_it_matters(self) -> Option<Self> {
        (self.allowed.is_some() || self.crowd.is_some()).then_some(self)
    }

    /// Lets a peer in, with its place where places are counted.
    ///
    /// # Errors
    /// What the peer is told that a rule sends away.
    pub fn admit(&self, peer: IpAddr) -> Result<Option<Place>, &'static [u8]> {
        let turn_away = |away: &Away| {
            self.refusals.count(away.reason, peer);
            away.words
        };
        if let Some((networks, away)) = &self.allowed
            && !networks.allow(peer)
        {
            return Err(turn_away(away));
        }
        match &self.crowd {
            Some((crowd, away)) => crowd.enter(peer).map(Some).ok_or_else(|| turn_away(away)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Away = Away { reason: Reason::TcpAllow, words: b"stranger" };
    const CROWDED: Away = Away { reason: Reason::TcpPerIp, words: b"crowded" };

    #[test]
    fn the_rules_hold_together_and_what_they_refuse_is_counted() {
        let refusals = Arc::new(Refusals::default());
        let networks = Networks::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let door = Door::open(Arc::clone(&refusals))
            .only(&networks, STRANGER)
            .at_most(NonZeroUsize::new(1), CROWDED)
            .if_it_matters()
            .unwrap();
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let place = door.admit(known).unwrap();
        assert!(place.is_some());
        assert_eq!(door.admit(known).unwrap_err(), b"crowded");
        assert_eq!(door.admit(unknown).unwrap_err(), b"stranger");
        drop(place);
        assert!(door.admit(known).is_ok());
        let seen = [Reason::TcpAllow, Reason::TcpPerIp].map(|reason| refusals.seen(reason));
        assert_eq!(
            seen.map(|seen| (seen.count, seen.last)),
            [(1, Some(unknown)), (1, Some(known))]
        );
    }

    #[test]
    fn a_door_without_rules_is_none() {
        let door = Door::open(Arc::default()).only(&Networks::default(), STRANGER);
        assert!(door.at_most(None, CROWDED).if_it_matters().is_none());
    }
}
