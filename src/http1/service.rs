//! What a connection needs of the application: the routes, and the answers.
//!
//! Must not: know what there is to ask for.

use std::net::SocketAddr;
use std::time::Duration;

use super::error::RequestError;
use super::request::Request;
use super::response::{Date, Response};
use super::target::Target;
use super::task::Task;
use crate::clock::Timestamp;
use crate::limits;

/// The application that answers the requests of a connection.
///
/// For each request the connection calls [`Route::find`], [`Service::call`] and
/// [`Service::answered`], once and in this order; or [`Service::refused`], when it is no request or
/// breaks a limit.
pub trait Service {
    /// Where requests lead.
    type Route: Route;

    /// The value of the `Date` header now.
    fn date(&mut self) -> Date;

    /// Answers a request, by one [`Response::start`], or returns what is left to do for it.
    fn call(
        &mut self,
        request: &Request<'_, Self::Route>,
        now: Timestamp,
        to: &mut Response<'_>,
    ) -> Option<Box<dyn Task>>;

    /// A request that came at `now` was answered with `status`: to count and to log.
    fn answered(&mut self, request: &Request<'_, Self::Route>, now: Timestamp, status: u16);

    /// A request of `peer` was refused at `now` without asking its route: to count and to log. `sent`
    /// is what is here of it; nothing once its time is over.
    fn refused(&mut self, peer: SocketAddr, now: Timestamp, error: RequestError, sent: &[u8]);

    /// How long a connection may stay without a request.
    fn idle_timeout(&self) -> Duration {
        limits::HTTP_IDLE
    }

    /// Whether connections end behind the requests that are here.
    fn is_stopping(&self) -> bool {
        false
    }
}

/// Where a request leads, found once, right after its head.
pub trait Route: Copy {
    /// The route of `method` to `path`, whose escapes are undone.
    fn find(method: &[u8], path: &[u8]) -> Self;

    /// Whether the handler of a request for `target` reads the body: a client that expects `100
    /// Continue` before it sends the body then gets that.
    fn reads_body(&self, target: &Target<'_>) -> bool;
}
