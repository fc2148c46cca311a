//! Topic and channel names, which are valid by construction.
//!
//! Must not: allocate for a name that is not valid. Source: nsq `internal/protocol/names.go`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// The suffix of topics and channels that are removed with their last producer.
pub const EPHEMERAL: &str = "#ephemeral";

/// Stands for every topic in the HTTP API's requests that allow it. It is no valid name.
pub const ALL_TOPICS: &str = "*";

/// Whether `name` is a valid topic or channel name: `^[.a-zA-Z0-9_-]+(#ephemeral)?$`, 1 to 64
/// bytes with the suffix.
#[must_use]
pub fn is_valid(name: &[u8]) -> bool {
    let stem = name.strip_suffix(EPHEMERAL.as_bytes()).unwrap_or(name);
    name.len() <= limits::NAME
        && !stem.is_empty()
        && stem.iter().all(
            |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-'),
        )
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name, if it is valid (see [`is_valid`]).
            #[must_use]
            pub fn new(name: &str) -> Option<Self> {
                is_valid(name.as_bytes()).then(|| Self(name.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether it is removed with its last producer.
            #[must_use]
            pub fn is_ephemeral(&self) -> bool {
                self.0.ends_with(EPHEMERAL)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
    };
}

name! {
    /// A valid topic name. Clones share the text.
    TopicName
}
name! {
    /// A valid channel name. Clones share the text.
    ChannelName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_nsq() {
        let full = "a".repeat(64);
        let over = "a".repeat(65);
        let ephemeral = format!("{}{EPHEMERAL}", "a".repeat(54));
        let ephemeral_over = format!("{}{EPHEMERAL}", "a".repeat(55));
        let valid = ["t", ".", "_", "-", ".a-b_C9", "t#ephemeral", &full, &ephemeral];
        let invalid = [
            "",
            " ",
            "*",
            "t t",
            "bad!",
            "%s",
            "café",
            "t\n",
            "#ephemeral",
            "t#eph",
            "a#ephemerala",
            "a#ephemeral#ephemeral",
            "t\0",
            &over,
            &ephemeral_over,
        ];
        for name in valid {
            assert!(TopicName::new(name).is_some(), "{name}");
        }
        for name in invalid {
            assert!(ChannelName::new(name).is_none(), "{name:?}");
        }
        assert!(TopicName::new("t#ephemeral").is_some_and(|name| name.is_ephemeral()));
        assert!(TopicName::new("t").is_some_and(|name| !name.is_ephemeral()));
    }
}
