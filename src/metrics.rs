//! What the daemon counts, and how Prometheus reads it.
//!
//! Must not: be asked for a decision; every count is relaxed. Any thread counts.

use std::fmt::{Display, Write};

use crate::access::{Denials, DenyReason};
use crate::connections::ConnectionCounters;
use crate::protocol::decode::ErrorCode;
use crate::striped_counter::StripedCounter;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(StripedCounter);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, many: u64) {
        self.0.add(many);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// What sessions and requests add up to.
#[derive(Debug, Default)]
pub struct Metrics {
    /// IDENTIFY commands that were accepted.
    pub identifies: Counter,
    /// PING commands of identified nsqds.
    pub pings: Counter,
    /// REGISTER commands that were accepted, known registrations too.
    pub registers: Counter,
    /// UNREGISTER commands that were accepted.
    pub unregisters: Counter,
    /// Connections that did not begin with the magic.
    pub bad_magics: Counter,
    /// REGISTER commands refused for want of room.
    pub full: Counter,
    /// Commands refused, by [`ErrorCode`].
    refusals: [Counter; 4],
    /// HTTP answers, by the first digit of their status.
    answers: [Counter; 6],
}

impl Metrics {
    /// A command was refused.
    pub fn refused(&self, code: ErrorCode) {
        self.refusals[place(code)].count();
    }

    /// An HTTP request was answered with `status`.
    pub fn answered(&self, status: u16) {
        self.answers[usize::from(status / 100).min(self.answers.len() - 1)].count();
    }

    /// Appends the counters in Prometheus' text format.
    pub fn write(&self, out: &mut Page) {
        let commands = [
            ("IDENTIFY", &self.identifies),
            ("PING", &self.pings),
            ("REGISTER", &self.registers),
            ("UNREGISTER", &self.unregisters),
        ];
        let commands = commands.map(|(name, counter)| (name, counter.get()));
        out.counters("musterd_commands_total", "Commands of nsqds.", "command", commands);
        let codes =
            [ErrorCode::Invalid, ErrorCode::BadTopic, ErrorCode::BadChannel, ErrorCode::BadBody];
        let refusals = codes.map(|code| (code.as_str(), self.refusals[place(code)].get()));
        let refusals = refusals.into_iter().chain([("E_BAD_PROTOCOL", self.bad_magics.get())]);
        out.counters("musterd_refusals_total", "Refused commands.", "code", refusals);
        let full = "REGISTER commands refused for want of room.";
        out.counter("musterd_registry_full_total", full, self.full.get());
        let classes = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let answers = classes.into_iter().zip(self.answers.iter().map(Counter::get));
        out.counters("musterd_http_answers_total", "HTTP answers.", "class", answers);
    }
}

fn place(code: ErrorCode) -> usize {
    match code {
        ErrorCode::Invalid => 0,
        ErrorCode::BadTopic => 1,
        ErrorCode::BadChannel => 2,
        ErrorCode::BadBody => 3,
    }
}

/// A page in Prometheus' text format. Labels are words of our own: they need no escapes.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// One number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "counter");
        self.line(format_args!("{name} {value}"));
    }

    /// One number that comes and goes.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
    }

    /// Numbers that only grow, told apart by a label.
    pub fn counters<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        self.head(name, help, "counter");
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// Who was refused for who they are.
    pub fn refusals(&mut self, refusals: &Denials) {
        let counts = DenyReason::ALL.map(|reason| (reason.label(), refusals.seen(reason).count));
        let help = "Connections and requests that an access rule has refused.";
        self.counters("musterd_access_refused_total", help, "reason", counts);
    }

    /// What the tables of each listener have seen.
    pub fn connections<const N: usize>(&mut self, sides: [(&str, &ConnectionCounters); N]) {
        let mut family = |name: &str, help: &str, figure: fn(&ConnectionCounters) -> u64| {
            self.counters(name, help, "port", sides.map(|(side, seen)| (side, figure(seen))));
        };
        let total = "Connections accepted, those refused included.";
        family("musterd_accepted_total", total, ConnectionCounters::accepted);
        family("musterd_refused_total", "Connections over the cap.", ConnectionCounters::refused);
        family(
            "musterd_accept_errors_total",
            "Accepts that failed.",
            ConnectionCounters::accept_errors,
        );
        family(
            "musterd_finished_total",
            "Connections that came to an end.",
            ConnectionCounters::finished,
        );
        family(
            "musterd_expired_total",
            "Connections ended by a deadline.",
            ConnectionCounters::expired,
        );
        family(
            "musterd_stalled_total",
            "Connections that did not read.",
            ConnectionCounters::stalled,
        );
        family("musterd_broken_total", "Connections that failed.", ConnectionCounters::broken);
        family(
            "musterd_panicked_total",
            "Connections ended by a panic.",
            ConnectionCounters::panicked,
        );
        family("musterd_received_bytes_total", "Bytes received.", ConnectionCounters::received);
        family("musterd_sent_bytes_total", "Bytes sent.", ConnectionCounters::sent);
        for (name, help, figure) in [
            (
                "musterd_connections",
                "Open connections.",
                ConnectionCounters::open as fn(&ConnectionCounters) -> u64,
            ),
            (
                "musterd_queued_bytes",
                "Output that peers have not taken.",
                ConnectionCounters::queued_output,
            ),
        ] {
            self.head(name, help, "gauge");
            for (side, seen) in sides {
                self.line(format_args!("{name}{{port=\"{side}\"}} {}", figure(seen)));
            }
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a String takes what it is given");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_who_was_refused() {
        let refusals = Denials::default();
        refusals.count(DenyReason::WriteToken, [10, 0, 0, 1].into());
        let mut page = Page::default();
        page.refusals(&refusals);
        let text = page.into_text();
        for reason in DenyReason::ALL {
            let count = u64::from(reason == DenyReason::WriteToken);
            let line =
                format!("musterd_access_refused_total{{reason=\"{}\"}} {count}", reason.label());
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_page_says_what_was_counted() {
        let metrics = Metrics::default();
        metrics.pings.add(3);
        metrics.refused(ErrorCode::BadTopic);
        metrics.answered(404);
        metrics.answered(999);
        let mut page = Page::default();
        metrics.write(&mut page);
        let text = page.into_text();
        let lines = [
            "# TYPE musterd_commands_total counter",
            "musterd_commands_total{command=\"PING\"} 3",
            "musterd_commands_total{command=\"REGISTER\"} 0",
            "musterd_refusals_total{code=\"E_BAD_TOPIC\"} 1",
            "musterd_http_answers_total{class=\"4xx\"} 1",
            "musterd_http_answers_total{class=\"5xx\"} 1",
        ];
        for line in lines {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
