//! Who may have a connection of a listener, checked at accept, before it costs anything.
//!
//! Must not: hold a lock between two calls. Runs on the threads that accept.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{AllowList, Denials, DenyReason, Holding, PerIpLimiter, PerIpPermit, Place, Pool};
use crate::limits;

/// What happens to a peer that an access rule denies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rejection {
    /// How the denial is counted.
    pub reason: DenyReason,
    /// The bytes that the peer is sent before its connection is closed.
    pub message: &'static [u8],
}

/// Rejected connections of a listener that may still read what they are told; more than those are just
/// closed. They stand beside the cap: a process needs that many descriptors to spare.
pub(crate) const REJECTED: usize = 64;

/// The access rules of one listener.
#[derive(Debug)]
pub(crate) struct AcceptPolicy {
    denials: Arc<Denials>,
    allowed: Option<(AllowList, Rejection)>,
    limiter: Option<(Arc<PerIpLimiter>, Rejection)>,
    pool: Option<(Arc<Pool>, Rejection)>,
    proxies: Proxies,
    /// Connections that were rejected and read what they were told.
    rejected: AtomicUsize,
}

/// The proxies that say who the peer of a connection is.
#[derive(Debug)]
struct Proxies {
    networks: AllowList,
    /// How a missing header is counted.
    reason: DenyReason,
    /// How long they have for it.
    timeout: Duration,
}

/// What a connection has of what its address may have; given back when it is dropped.
#[derive(Debug, Default)]
pub struct Permit {
    /// Boxed, since few daemons have that limit.
    pub(crate) per_ip: Option<Box<PerIpPermit>>,
    pub(crate) place: Option<Place>,
    /// What its buffers take, if that is more than [`limits::SMALL_BUFFERS`]; boxed, as few have that.
    buffers: Option<Box<Holding>>,
}

/// Bytes of buffers that count as one place of their pool.
pub(crate) const BUFFERS: usize = 16 * 1024;

impl AcceptPolicy {
    /// A policy without rules, which admits every peer. Denials are counted in `denials`.
    #[must_use]
    pub(crate) fn new(denials: Arc<Denials>) -> Self {
        let reason = DenyReason::TcpProxy;
        let proxies = Proxies { networks: AllowList::default(), reason, timeout: Duration::ZERO };
        let rejected = AtomicUsize::new(0);
        Self { denials, allowed: None, limiter: None, pool: None, proxies, rejected }
    }

    /// Admits only peers of `networks`, unless that list is empty.
    #[must_use]
    pub(crate) fn allow_only(self, networks: &AllowList, rejection: Rejection) -> Self {
        let allowed = Some(networks).filter(|networks| !networks.is_empty());
        Self { allowed: allowed.map(|networks| (networks.clone(), rejection)), ..self }
    }

    /// Admits at most `max` connections of each address; any number when `None`.
    #[must_use]
    pub(crate) fn limit_per_ip(self, max: Option<NonZeroUsize>, rejection: Rejection) -> Self {
        Self { limiter: max.map(|max| (PerIpLimiter::new(max), rejection)), ..self }
    }

    /// Shares `max` connections among the addresses that have them.
    #[must_use]
    pub(crate) fn share(self, max: usize, rejection: Rejection) -> Self {
        Self { pool: Some((Pool::new(max), rejection)), ..self }
    }

    /// Has connections from `networks` begin with a PROXY header, whole within `timeout`. That there
    /// is none is counted as `reason`.
    #[must_use]
    pub(crate) fn behind_proxies(
        self,
        networks: &AllowList,
        reason: DenyReason,
        timeout: Duration,
    ) -> Self {
        Self { proxies: Proxies { networks: networks.clone(), reason, timeout }, ..self }
    }

    /// Whether `peer` is a proxy: rules are for those whom its headers name.
    pub(crate) fn is_proxy(&self, peer: IpAddr) -> bool {
        !self.proxies.networks.is_empty() && self.proxies.networks.allows(peer)
    }

    /// How long a proxy has for its header.
    pub(crate) fn header_timeout(&self) -> Duration {
        self.proxies.timeout
    }

    /// A proxy has sent no header.
    pub(crate) fn deny_header(&self, proxy: IpAddr) {
        self.denials.count(self.proxies.reason, proxy);
    }

    /// Checks a peer by the access rules; its connection must keep the permit until it is closed.
    ///
    /// # Errors
    /// The bytes for a peer that a rule denies. The denial is counted.
    pub(crate) fn check(&self, peer: IpAddr) -> Result<Permit, &'static [u8]> {
        if let Some((networks, rejection)) = &self.allowed
            && !networks.allows(peer)
        {
            return Err(self.deny(peer, rejection));
        }
        let mut permit = Permit::default();
        if let Some((limiter, rejection)) = &self.limiter {
            let per_ip = limiter.acquire(peer).ok_or_else(|| self.deny(peer, rejection))?;
            permit.per_ip = Some(Box::new(per_ip));
        }
        Ok(permit)
    }

    /// Adds a place in the share of a peer to the permit of its connection, which is counted under
    /// the cap already. `is_short` says that there is little memory for more.
    ///
    /// # Errors
    /// As [`AcceptPolicy::check`].
    pub(crate) fn place(
        &self,
        peer: IpAddr,
        permit: &mut Permit,
        is_short: bool,
    ) -> Result<(), &'static [u8]> {
        let Some((pool, rejection)) = &self.pool else { return Ok(()) };
        permit.place = pool.acquire_of(peer, is_short);
        if permit.place.is_some() { Ok(()) } else { Err(self.deny(peer, rejection)) }
    }

    /// Whether one more rejected connection may stay for a while;
    /// [`AcceptPolicy::rejected_is_gone`] follows then.
    pub(crate) fn may_stay_rejected(&self) -> bool {
        let one_more = |rejected| (rejected < REJECTED).then_some(rejected + 1);
        self.rejected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
    }

    /// A rejected connection that stayed is closed.
    pub(crate) fn rejected_is_gone(&self) {
        self.rejected.fetch_sub(1, Ordering::Relaxed);
    }

    fn deny(&self, peer: IpAddr, rejection: &Rejection) -> &'static [u8] {
        self.denials.count(rejection.reason, peer);
        rejection.message
    }
}

impl Permit {
    /// Whether there is nothing to give back.
    pub(crate) fn is_empty(&self) -> bool {
        self.per_ip.is_none() && self.place.is_none()
    }

    /// Counts the connection in the share of `owner` from now on, and no longer in its address's.
    pub(crate) fn move_to(&mut self, owner: impl Hash) {
        if let Some(place) = &mut self.place {
            place.move_to(owner);
            if let Some(buffers) = &mut self.buffers {
                buffers.move_to(place);
            }
        }
    }

    /// The buffers of the connection take so many bytes now, which count in its share of `pool`.
    pub(crate) fn hold_buffers(&mut self, pool: &Arc<Pool>, bytes: usize) {
        if bytes <= limits::SMALL_BUFFERS {
            self.buffers = None;
        } else if let Some(place) = &self.place {
            let buffers = self.buffers.get_or_insert_with(|| Box::new(place.hold(pool)));
            buffers.set(bytes.div_ceil(BUFFERS));
        }
    }

    /// Whether its share has less of `pool` than another, or nothing.
    pub(crate) fn is_behind_in(&self, pool: &Arc<Pool>) -> bool {
        self.place.as_ref().is_none_or(|place| place.hold(pool).is_behind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE: Rejection = Rejection { reason: DenyReason::TcpAllow, message: b"outside" };
    const TOO_MANY: Rejection = Rejection { reason: DenyReason::TcpPerIp, message: b"too many" };

    #[test]
    fn both_rules_must_hold_and_denials_are_counted() {
        let denials = Arc::new(Denials::default());
        let networks = AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let policy = AcceptPolicy::new(Arc::clone(&denials))
            .allow_only(&networks, OUTSIDE)
            .limit_per_ip(NonZeroUsize::new(1), TOO_MANY);
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let permit = policy.check(known).unwrap();
        assert!(!permit.is_empty());
        assert_eq!(policy.check(known).unwrap_err(), b"too many");
        assert_eq!(policy.check(unknown).unwrap_err(), b"outside");
        drop(permit);
        assert!(policy.check(known).is_ok());
        let seen = [DenyReason::TcpAllow, DenyReason::TcpPerIp].map(|reason| denials.get(reason));
        assert_eq!(
            seen.map(|seen| (seen.count, seen.last)),
            [(1, Some(unknown)), (1, Some(known))]
        );
    }

    #[test]
    fn a_policy_without_rules_admits_everybody() {
        let policy = AcceptPolicy::new(Arc::default()).allow_only(&AllowList::default(), OUTSIDE);
        let policy = policy.limit_per_ip(None, TOO_MANY);
        let peer = IpAddr::from([10, 1, 1, 1]);
        let mut permit = policy.check(peer).unwrap();
        policy.place(peer, &mut permit, true).unwrap();
        assert!(permit.is_empty(), "it costs nothing");
    }
}
