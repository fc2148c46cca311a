//! The HTTP requests of NSQ's clients, as go-nsq and nsqadmin write them.
//!
//! Must not: choose a request.

use std::io::Write as _;
use std::net::SocketAddr;

use crate::measure::ops::Op;
use crate::model::plan::Plan;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// The producers of a topic of the plan.
    Lookup(u32),
    /// The producers of a topic that no nsqd registers.
    Miss(u32),
    Topics,
    Nodes,
    Channels(u32),
    /// Create the nsqadmin's own topic of that number.
    Create(u32),
    /// Delete the nsqadmin's own topic of that number.
    Delete(u32),
}

impl Request {
    /// The operation under which it is measured.
    pub(crate) fn op(&self) -> Op {
        match self {
            Self::Lookup(_) => Op::Lookup,
            Self::Miss(_) => Op::Miss,
            Self::Topics | Self::Nodes | Self::Channels(_) => Op::Listing,
            Self::Create(_) | Self::Delete(_) => Op::Admin,
        }
    }

    /// Whether a target that works may answer it with that status; any other is an error.
    pub(crate) fn may_be_answered_with(&self, status: u16) -> bool {
        status == 200 || (status == 404 && matches!(self, Self::Lookup(_) | Self::Miss(_)))
    }

    /// Appends the request. `fresh`: the connection serves this request only.
    pub(crate) fn write(&self, host: SocketAddr, fresh: bool, out: &mut Vec<u8>) {
        let connection = if fresh { "Connection: close\r\n" } else { "" };
        let rest = format_args!(
            "Host: {host}\r\nUser-Agent: loadgen\r\n{connection}Accept: application/vnd.nsq; version=1.0\r\n"
        );
        // Writing to a Vec cannot fail.
        let _ = match self {
            Self::Lookup(topic) => {
                write!(out, "GET /lookup?topic=topic-{topic:07} HTTP/1.1\r\n{rest}\r\n")
            }
            Self::Miss(topic) => {
                write!(out, "GET /lookup?topic=nobody-{topic:07} HTTP/1.1\r\n{rest}\r\n")
            }
            Self::Topics => write!(out, "GET /topics HTTP/1.1\r\n{rest}\r\n"),
            Self::Nodes => write!(out, "GET /nodes HTTP/1.1\r\n{rest}\r\n"),
            Self::Channels(topic) => {
                write!(out, "GET /channels?topic=topic-{topic:07} HTTP/1.1\r\n{rest}\r\n")
            }
            Self::Create(topic) => {
                write!(
                    out,
                    "POST /topic/create?topic={} HTTP/1.1\r\n{rest}Content-Length: 0\r\n\r\n",
                    Plan::admin_topic(*topic)
                )
            }
            Self::Delete(topic) => {
                write!(
                    out,
                    "POST /topic/delete?topic={} HTTP/1.1\r\n{rest}Content-Length: 0\r\n\r\n",
                    Plan::admin_topic(*topic)
                )
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_uses_the_topic_name_that_nsqds_register() {
        let mut out = Vec::new();
        let host = SocketAddr::from(([127, 0, 0, 1], 4161));
        Request::Lookup(7).write(host, true, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        assert!(text.starts_with(&format!("GET /lookup?topic={} HTTP/1.1\r\n", Plan::topic(7))));
        assert!(
            text.contains("Host: 127.0.0.1:4161\r\n") && text.contains("Connection: close\r\n")
        );
        assert!(text.ends_with("\r\n\r\n"));
    }
}
