//! Access rules for HTTP requests that read.
//!
//! Must not: know routes. HTTP workers ask, for each request that reads; TCP workers say which
//! addresses have an nsqd.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{AllowList, Denials, DenyReason, PerIpLimiter, PerIpPermit, Token};

/// The addresses of the nsqds that are connected and have identified; cheap to clone.
#[derive(Clone, Debug)]
pub struct NsqdAddresses(Arc<PerIpLimiter>);

impl Default for NsqdAddresses {
    fn default() -> Self {
        Self(PerIpLimiter::new(NonZeroUsize::MAX))
    }
}

impl NsqdAddresses {
    /// Counts one more nsqd at `address`, which is canonical, until the permit is dropped.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Option<PerIpPermit> {
        self.0.acquire(address)
    }

    /// Whether an nsqd at `address` is connected.
    fn has(&self, address: IpAddr) -> bool {
        self.0.has(address)
    }
}

/// The rules for requests that read. If there are several, one that holds is enough: consumers may
/// have a token, and nsqadmin, which can send none, an address.
#[derive(Debug)]
pub struct ReadPolicy {
    /// None: no address is allowed by itself.
    allowed: Option<AllowList>,
    token: Option<Token>,
    nsqds: NsqdAddresses,
    denials: Arc<Denials>,
}

impl ReadPolicy {
    /// Requires an address of `allow` or the `token`. `None` when neither is given: everyone may
    /// read. Denials are counted in `denials`.
    #[must_use]
    pub fn new(
        allow: AllowList,
        token: Option<Token>,
        nsqds: NsqdAddresses,
        denials: Arc<Denials>,
    ) -> Option<Arc<Self>> {
        let allowed = Some(allow).filter(|allow| !allow.is_empty());
        let has_rule = allowed.is_some() || token.is_some();
        has_rule.then(|| Arc::new(Self { allowed, token, nsqds, denials }))
    }

    /// Whether a request of `peer` may read; if not, the denial is counted. `authorization` is the
    /// value of the request's field of that name. `of_nsqds` says whether it is one that nsqds make,
    /// which are allowed theirs without a token.
    #[must_use]
    pub fn allows(
        &self,
        peer: IpAddr,
        authorization: Option<&[u8]>,
        of_nsqds: impl FnOnce() -> bool,
    ) -> bool {
        let has_token = |token: &Token| authorization.is_some_and(|value| token.matches(value));
        let is_allowed = self.allowed.as_ref().is_some_and(|allowed| allowed.allows(peer))
            || self.token.as_ref().is_some_and(has_token)
            || (of_nsqds() && self.nsqds.has(peer));
        if !is_allowed {
            self.denials.count(DenyReason::Read, peer);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 1, 1));
    const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(11, 1, 1, 1));

    #[test]
    fn one_rule_that_holds_is_enough() {
        let denials = Arc::new(Denials::default());
        let networks = || AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let token = || Some(Token::new(b"secret").unwrap());
        let policy = |allow, token| {
            ReadPolicy::new(allow, token, NsqdAddresses::default(), Arc::clone(&denials))
        };
        let (right, wrong) = (Some(&b"Bearer secret"[..]), Some(&b"Bearer secreT"[..]));
        let not_of_nsqds = || false;
        let both = policy(networks(), token()).unwrap();
        assert!(both.allows(KNOWN, None, not_of_nsqds) && both.allows(KNOWN, wrong, not_of_nsqds));
        assert!(both.allows(UNKNOWN, right, not_of_nsqds));
        assert!(!both.allows(UNKNOWN, wrong, not_of_nsqds));
        assert!(!both.allows(UNKNOWN, None, not_of_nsqds));
        let address = policy(networks(), None).unwrap();
        assert!(address.allows(KNOWN, None, not_of_nsqds));
        assert!(!address.allows(UNKNOWN, right, not_of_nsqds));
        let token = policy(AllowList::default(), token()).unwrap();
        assert!(token.allows(UNKNOWN, right, not_of_nsqds));
        assert!(!token.allows(KNOWN, None, not_of_nsqds));
        assert_eq!(denials.get(DenyReason::Read).count, 4);
        assert!(policy(AllowList::default(), None).is_none());
    }

    #[test]
    fn connected_nsqds_may_make_their_own_requests_only() {
        let (nsqds, token) = (NsqdAddresses::default(), Token::new(b"secret").ok());
        let policy =
            ReadPolicy::new(AllowList::default(), token, nsqds.clone(), Arc::default()).unwrap();
        let permits = [nsqds.enter(KNOWN), nsqds.enter(KNOWN)];
        assert!(policy.allows(KNOWN, None, || true));
        assert!(!policy.allows(KNOWN, None, || false));
        assert!(!policy.allows(UNKNOWN, None, || true));
        let [first, second] = permits;
        drop(first);
        assert!(policy.allows(KNOWN, None, || true), "another one is connected");
        drop(second);
        assert!(!policy.allows(KNOWN, None, || true));
    }
}
