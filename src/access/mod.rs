//! Who may come in and who may change things: address lists, a number of connections for each
//! address, a token. Nothing here is asked unless an operator's flag turned it on.
//!
//! Must not: know a protocol or a socket, or log; what is refused is counted in [`Refusals`].
//! A [`Door`] belongs to the thread that accepts; all else is shared by every thread.

mod crowd;
mod door;
mod networks;
mod refusals;
mod token;
mod writers;

pub use crowd::{Crowd, Place};
pub use door::{Away, Door};
pub use networks::{Network, Networks};
pub use refusals::{Reason, Refusals, Seen};
pub use token::{Token, TokenError, TokenFile};
pub use writers::Writers;
