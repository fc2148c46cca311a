//! What is remembered of a request whose head is gone from the input.
//!
//! Must not: remember what nothing asks for after the head. Belongs to its connection.

use super::body::Body;
use super::request::{Expect, RequestHead, Site};
use super::target::Target;

/// A request that waits: for the end of its body, or for the end of its response.
#[derive(Debug)]
pub(crate) struct PendingRequest<R> {
    pub(super) body: Body,
    pub(super) route: R,
    /// The method, then the target.
    line: Box<[u8]>,
    method: usize,
    authorization: Option<Box<[u8]>>,
    accept: Option<Box<[u8]>>,
    host: Box<[u8]>,
    origin: Option<Box<[u8]>>,
    fetch_site: Option<Box<[u8]>>,
    is_http11: bool,
    pub(super) persistent: bool,
}

impl<R> PendingRequest<R> {
    pub(crate) fn new(head: &RequestHead<'_>, route: R) -> Self {
        Self {
            body: head.body,
            route,
            line: [head.method, head.target.raw].concat().into(),
            method: head.method.len(),
            authorization: head.authorization.map(Into::into),
            accept: head.accept.map(Into::into),
            host: head.site.host.into(),
            origin: head.site.origin.map(Into::into),
            fetch_site: head.site.fetch_site.map(Into::into),
            is_http11: head.is_http11,
            persistent: head.persistent,
        }
    }

    /// The request's head, as far as it matters from here on.
    pub(crate) fn head(&self) -> RequestHead<'_> {
        let (method, target) = self.line.split_at(self.method);
        RequestHead {
            method,
            target: Target::parse(method, target).expect("it was parsed before it had to wait"),
            is_http11: self.is_http11,
            persistent: self.persistent,
            body: self.body,
            expect: Expect::Nothing,
            authorization: self.authorization.as_deref(),
            accept: self.accept.as_deref(),
            site: Site {
                host: &self.host,
                origin: self.origin.as_deref(),
                fetch_site: self.fetch_site.as_deref(),
            },
            length: 0,
        }
    }
}
