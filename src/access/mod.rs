//! Who may come in and who may change things: address lists, a number of connections for each
//! address, a token. Nothing here is asked unless an operator's flag turned it on.
//!
//! Must not: know a protocol or a socket, or log; what is refused is counted in [`Denials`].
//! A [`AcceptPolicy`] belongs to the thread that accepts; all else is shared by every thread.

mod accept_policy;
mod allow_list;
mod denials;
mod per_ip;
mod token;
mod write_policy;

pub use accept_policy::{AcceptPolicy, Rejection};
pub use allow_list::{AllowList, Network};
pub use denials::{Denials, Denied, DenyReason, register_rejections};
pub use per_ip::{PerIpLimiter, PerIpPermit};
pub use token::{Token, TokenError, TokenFile};
pub use write_policy::WritePolicy;
