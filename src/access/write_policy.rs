//! Access rules for HTTP requests that change something.
//!
//! Must not: know routes. HTTP workers call it, only for requests that would change something.

use std::net::IpAddr;
use std::sync::Arc;

use super::{AllowList, Denials, DenyReason, Token};

/// The rules for requests that change something. If there are several, all must hold.
#[derive(Debug)]
pub struct WritePolicy {
    allowed: AllowList,
    token: Option<Token>,
    denials: Arc<Denials>,
}

impl WritePolicy {
    /// Requires an address of `allow` and the `token`, as far as they are given. `None` when neither
    /// is: everyone may write. Denials are counted in `denials`.
    #[must_use]
    pub fn new(allow: AllowList, token: Option<Token>, denials: Arc<Denials>) -> Option<Arc<Self>> {
        let has_rule = !allow.is_empty() || token.is_some();
        has_rule.then(|| Arc::new(Self { allowed: allow, token, denials }))
    }

    /// Whether a request of `peer` may change something; if not, the denial is counted.
    /// `authorization` is the value of the request's field of that name.
    #[must_use]
    pub fn allows(&self, peer: IpAddr, authorization: Option<&[u8]>) -> bool {
        let has_token = |token: &Token| authorization.is_some_and(|value| token.matches(value));
        let reason = if !self.allowed.allows(peer) {
            DenyReason::WriteAllow
        } else if !self.token.as_ref().is_none_or(has_token) {
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
        assert!(both.allows(known, right));
        assert!(!both.allows(known, wrong) && !both.allows(known, None));
        assert!(!both.allows(unknown, right) && !both.allows(unknown, None));
        let counts =
            [DenyReason::WriteToken, DenyReason::WriteAllow].map(|at| denials.get(at).count);
        assert_eq!(counts, [2, 2]);
        let address = WritePolicy::new(networks(), None, Arc::default()).unwrap();
        assert!(address.allows(known, None) && !address.allows(unknown, right));
        let token = WritePolicy::new(AllowList::default(), token(), Arc::default()).unwrap();
        assert!(token.allows(unknown, right) && !token.allows(known, None));
        assert!(WritePolicy::new(AllowList::default(), None, Arc::default()).is_none());
    }
}
