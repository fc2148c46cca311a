//! Who may change things over HTTP.
//!
//! Must not: know routes. Any worker asks, for requests that would change something.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Networks, Reason, Refusals, Token};

/// The rules for requests that change something; where there are several, all hold.
#[derive(Debug)]
pub struct Writers {
    allowed: Networks,
    token: Option<Token>,
    refusals: Arc<Refusals>,
}

impl Writers {
    /// Writers of `allowed` networks who know the `token`; none when everyone may write. Counts in
    /// `refusals` whom it refuses.
    #[must_use]
    pub fn new(
        allowed: Networks,
        token: Option<Token>,
        refusals: Arc<Refusals>,
    ) -> Option<Arc<Self>> {
        let matters = !allowed.is_empty() || token.is_some();
        matters.then(|| Arc::new(Self { allowed, token, refusals }))
    }

    /// Whether a request of `peer` may change something; `authorization` is the value of its
    /// field of that name.
    #[must_use]
    pub fn admit(&self, peer: IpAddr, authorization: Option<&[u8]>) -> bool {
        let known = |token: &Token| authorization.is_some_and(|value| token.is_borne_by(value));
        let reason = if !self.allowed.allow(peer) {
            Reason::WriteAllow
        } else if !self.token.as_ref().is_none_or(known) {
            Reason::WriteToken
        } else {
            return true;
        };
        self.refusals.count(reason, peer);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rules_must_hold() {
        let refusals = Arc::new(Refusals::default());
        let networks = || Networks::from(vec!["10.0.0.0/8".parse().unwrap()]);
        let token = || Some(Token::new(b"secret").unwrap());
        let both = Writers::new(networks(), token(), Arc::clone(&refusals)).unwrap();
        let (known, unknown) = (IpAddr::from([10, 1, 1, 1]), IpAddr::from([11, 1, 1, 1]));
        let (right, wrong) = (Some(&b"Bearer secret"[..]), Some(&b"Bearer secreT"[..]));
        assert!(both.admit(known, right));
        assert!(!both.admit(known, wrong) && !both.admit(known, None));
        assert!(!both.admit(unknown, right) && !both.admit(unknown, None));
        let counts = [Reason::WriteToken, Reason::WriteAllow].map(|at| refusals.seen(at).count);
        assert_eq!(counts, [2, 2]);
        let address = Writers::new(networks(), None, Arc::default()).unwrap();
        assert!(address.admit(known, None) && !address.admit(unknown, right));
        let token = Writers::new(Networks::default(), token(), Arc::default()).unwrap();
        assert!(token.admit(unknown, right) && !token.admit(known, None));
        assert!(Writers::new(Networks::default(), None, Arc::default()).is_none());
    }
}
