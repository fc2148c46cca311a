//! The names of all measurements: operations with a latency, counts, delays.
//!
//! Must not: hold a value.

macro_rules! named_enum {
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

named_enum! {
    /// An operation with a latency, counted from its intended time and from its sending.
    Op {
        /// A TCP connection of an nsqd.
        Connect = "connect",
        Identify = "identify",
        Register = "register",
        Unregister = "unregister",
        Ping = "ping",
        /// GET /lookup of a topic that an nsqd may register, whatever the status.
        Lookup = "lookup",
        /// GET /lookup of a topic that no nsqd registers.
        Miss = "miss",
        /// GET /topics, /channels, /nodes.
        Listing = "listing",
        /// POST /topic/create and the like.
        Admin = "admin",
    }
}

named_enum! {
    /// An event that is counted.
    Count {
        /// Requests whose answer was read.
        Answered = "answered",
        /// Lookups answered, whatever the status.
        Lookups = "lookups",
        /// Lookups that were due: the offered rate.
        Due = "due",
        /// Requests sent later than intended because their actor still waited for a response.
        Late = "late",
        /// Requests never sent because too many waited before them.
        Dropped = "dropped",
        /// Requests without an answer when the run ended.
        Unanswered = "unanswered",
        /// No answer in time.
        Timeouts = "timeouts",
        /// Connections that could not be established.
        Refused = "refused",
        /// Connections that the target closed.
        Lost = "lost",
        /// Replies and statuses that say that the target failed, and what is no HTTP.
        ErrorReplies = "error_replies",
        /// Requests sent once more, silently, because the server had closed the idle connection.
        Resent = "resent",
        /// Errors from the kill of the target until it serves again, which the scenario causes.
        Outage = "outage",
        /// 404 to a lookup.
        NotFound = "not_found",
        /// Answers that were checked.
        Checked = "checked",
        /// Answers with at least one finding.
        WrongAnswers = "wrong_answers",
        /// Findings: producers, topics and channels that are not listed and must be.
        Missing = "missing",
        /// Producers that are listed and must be gone.
        Stale = "stale",
        /// Producers, topics and channels that were never registered, or are listed twice.
        Extra = "extra",
        /// Fields that differ from what was registered, invalid JSON, wrong headers, bytes that no
        /// request asked for.
        Garbled = "garbled",
        /// Missing findings taken back because the producer's connection had broken.
        Excused = "excused",
        /// Wrong answers taken back because all their findings were.
        ExcusedAnswers = "excused_answers",
        BytesIn = "bytes_in",
        BytesOut = "bytes_out",
    }
}

impl Count {
    /// The kinds of findings in answers.
    pub(crate) const FINDINGS: [Self; 4] = [Self::Missing, Self::Stale, Self::Extra, Self::Garbled];
    /// Requests that failed.
    pub(crate) const ERRORS: [Self; 5] =
        [Self::Timeouts, Self::Refused, Self::Lost, Self::ErrorReplies, Self::Unanswered];
}

named_enum! {
    /// A measured time that is not the latency of a request.
    Delay {
        /// How much later than its timer an actor was woken: the generator's scheduling lag.
        Lag = "lag",
        /// REGISTER sent → first lookup that lists it.
        Appeared = "appeared",
        /// Socket killed → first lookup without it.
        Vanished = "vanished",
        /// How long the producers that a response lists had been gone.
        Staleness = "staleness",
    }
}
