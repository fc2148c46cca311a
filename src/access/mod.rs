//! Access rules: address lists and a per-IP limit at accept, address lists and bearer tokens for
//! requests that read and for those that change something.
//!
//! A listener has an [`AcceptPolicy`]; the HTTP API has a [`ReadPolicy`] and a [`WritePolicy`] where a
//! flag asks for a rule. Must not: know a protocol or a socket, or log: denials are counted in
//! [`Denials`]. Every thread shares them.

mod accept_policy;
mod allow_list;
mod denials;
mod per_ip;
mod pool;
mod read_policy;
mod token;
mod write_policy;

#[cfg(test)]
pub(crate) use accept_policy::REJECTED;
pub(crate) use accept_policy::{AcceptPolicy, BUFFERS, Permit, Rejection};
pub(crate) use allow_list::{AllowList, Network};
pub(crate) use denials::{DenialCount, Denials, DenyReason, register_rejections};
pub(crate) use per_ip::{PerIpLimiter, PerIpPermit};
pub(crate) use pool::{Holding, Place, Pool};
pub(crate) use read_policy::{NsqdAddresses, ReadPolicy};
pub(crate) use token::{Token, TokenError, TokenFile};
pub(crate) use write_policy::WritePolicy;
