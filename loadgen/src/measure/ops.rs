//! The operations whose latency is measured, and the things that are counted.
//!
//! Must not: hold a number.

macro_rules! named {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum $kind { $($(#[$doc])* $variant,)* }

        impl $kind {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in tables, files and thresholds.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

named! {
    /// An operation with a latency: from its intended moment, and from its sending.
    Op {
        /// A TCP connection of an nsqd.
        Connect = "connect",
        Identify = "identify",
        Register = "register",
        Unregister = "unregister",
        Ping = "ping",
        /// GET /lookup of a topic that somebody may register, whatever the status.
        Lookup = "lookup",
        /// GET /lookup of a topic that nobody registers.
        Miss = "miss",
        /// GET /topics, /channels, /nodes.
        Listing = "listing",
        /// POST /topic/create and the like.
        Admin = "admin",
    }
}

named! {
    /// Something that is counted.
    Count {
        /// Requests whose answer was read.
        Answered = "answered",
        /// Lookups answered, whatever the status.
        Lookups = "lookups",
        /// Lookups that were due: the offered rate.
        Due = "due",
        /// Requests sent later than intended since their actor still waited for an answer.
        Late = "late",
        /// Requests never sent since too many waited before them.
        Dropped = "dropped",
        /// Requests without an answer when the run ended.
        Unanswered = "unanswered",
        /// No answer in time.
        Timeouts = "timeouts",
        /// Connections that could not be made.
        Refused = "refused",
        /// Connections that the target ended.
        Lost = "lost",
        /// Error replies, unexpected statuses, bytes that are no reply.
        Wrong = "wrong",
        /// 404 to a lookup.
        NotFound = "not_found",
        /// Lookup answers that the oracle checked.
        Checked = "checked",
        Missing = "missing",
        Stale = "stale",
        Extra = "extra",
        /// Answers whose fields or channels are not what was registered.
        Garbled = "garbled",
        /// Missing findings taken back since the producer's link had broken.
        Excused = "excused",
        BytesIn = "bytes_in",
        BytesOut = "bytes_out",
    }
}

named! {
    /// A span that is no request's latency.
    Span {
        /// How much later than due the generator itself was.
        Lag = "lag",
        /// REGISTER sent → first lookup that shows it.
        Appeared = "appeared",
        /// Socket killed → first lookup without it.
        Vanished = "vanished",
        /// How long the producers that an answer shows had been gone.
        Staleness = "staleness",
    }
}
