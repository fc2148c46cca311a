//! Who may change things over HTTP.
//!
//! Must not: know routes. Any worker asks, for requests that would change something.

use std::net::IpAddr;
use std::sync::Arc;

use super::{AllowList, Denials, DenyReason, Token};

/// The rules for requests that change something; where there are several, all hold.
#[derive(Debug)]
pub struct WritePolicy {
    allowed: AllowList,
    token: Option<Token>,
    denials: Arc<Denials>,
}

impl WritePolicy {
    /// WritePolicy of `allowed` networks who know the `token`; none when everyone may write. Counts in
    /// `denials` whom it refuses.
    #[must_use]
    pub fn new(
        allowed: AllowList,
        token: Option<Token>,
        denials: Arc<Denials>,
    ) -> Option<Arc<Self>> {
        let matters = !allowed.is_empty() || token.is_some();
        matters.then(|| Arc::new(Self { allowed, token, denials }))
    }

    /// Whether a request of `peer` may change something; `authorization` is the value of its
    /// field of that name.
    #[must_use]
    pub fn admit(&self, peer: IpAddr, authorization: Option<&[u8]>) -> bool {
        let known = |token: &Token| authorization.is_some_and(|value| token.is_borne_by(value));
        let reason = if !self.allowed.allow(peer) {
            DenyReason::WriteAllow
        } else if !self.token.as_ref().is_none_or(known) {
            DenyReason::WriteToken
        } else {
            return true;
        };
        self.denials.count(reason, peer);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rules_must_hold() {
        let denials = Arc::new(Denials::default());
        let networks = || AllowList::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let token = || Some(Token::new(b"secret").unwrap());
        let both = WritePolicy::new(networks(), token(), Arc::clone(&denials)).unwrap();
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let (right, wrong) = (Some(&b"Bearer secret"[..]), Some(&b"Bearer secreT"[..]));
        assert!(both.admit(known, right));
        assert!(!both.admit(known, wrong) && !both.admit(known, None));
        assert!(!both.admit(unknown, right) && !both.admit(unknown, None));
        let counts =
            [DenyReason::WriteToken, DenyReason::WriteAllow].map(|at| denials.seen(at).count);
        assert_eq!(counts, [2, 2]);
        let address = WritePolicy::new(networks(), None, Arc::default()).unwrap();
        assert!(address.admit(known, None) && !address.admit(unknown, right));
        let token = WritePolicy::new(AllowList::default(), token(), Arc::default()).unwrap();
        assert!(token.admit(unknown, right) && !token.admit(known, None));
        assert!(WritePolicy::new(AllowList::default(), None, Arc::default()).is_none());
    }
}
