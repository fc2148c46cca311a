//! What the daemon counts, and how Prometheus reads it.
//!
//! Must not: be asked for a decision; every count is relaxed. Any thread counts.

use std::fmt::{Display, Write};

use crate::access::{Reason, Refusals};
use crate::connections::Counters;
use crate::protocol::decode::Code;
use crate::stripes::Stripes;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Stripes);

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
    /// Commands refused, by [`Code`].
    refusals: [Counter; 4],
    /// HTTP answers, by the first digit of their status.
    answers: [Counter; 6],
}

impl Metrics {
    /// A command was refused.
    pub fn refused(&self, code: Code) {
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
        let codes = [Code::Invalid, Code::BadTopic, Code::BadChannel, Code::BadBody];
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

fn place(code: Code) -> usize {
    match code {
        Code::Invalid => 0,
        Code::BadTopic => 1,
        Code::BadChannel => 2,
        Code::BadBody => 3,
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
    pub fn refusals(&mut self, refusals: &Refusals) {
        let counts = Reason::ALL.map(|reason| (reason.label(), refusals.seen(reason).count));
        let help = "Connections and requests that an access rule has refused.";
        self.counters("musterd_access_refused_total", help, "reason", counts);
    }

    /// What the tables of each listener have seen.
    pub fn connections<const N: usize>(&mut self, sides: [(&str, &Counters); N]) {
        let mut family = |name: &str, help: &str, figure: fn(&Counters) -> u64| {
            self.counters(name, help, "port", sides.map(|(side, seen)| (side, figure(seen))));
        };
        let total = "Connections accepted, those refused included.";
        family("musterd_accepted_total", total, Counters::accepted);
        family("musterd_refused_total", "Connections over the cap.", Counters::refused);
        family("musterd_accept_errors_total", "Accepts that failed.", Counters::accept_errors);
        family("musterd_finished_total", "Connections that came to an end.", Counters::finished);
        family("musterd_expired_total", "Connections ended by a deadline.", Counters::expired);
        family("musterd_stalled_total", "Connections that did not read.", Counters::stalled);
        family("musterd_broken_total", "Connections that failed.", Counters::broken);
        family("musterd_panicked_total", "Connections ended by a panic.", Counters::panicked);
        family("musterd_received_bytes_total", "Bytes received.", Counters::received);
        family("musterd_sent_bytes_total", "Bytes sent.", Counters::sent);
        for (name, help, figure) in [
            ("musterd_connections", "Open connections.", Counters::open as fn(&Counters) -> u64),
            ("musterd_queued_bytes", "Output that peers have not taken.", Counters::queued_output),
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
        let refusals = Refusals::default();
        refusals.count(Reason::WriteToken, [10, 0, 0, 1].into());
        let mut page = Page::default();
        page.refusals(&refusals);
        let text = page.into_text();
        for reason in Reason::ALL {
            let count = u64::from(reason == Reason::WriteToken);
            let line =
                format!("musterd_access_refused_total{{reason=\"{}\"}} {count}", reason.label());
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_page_says_what_was_counted() {
        let metrics = Metrics::default();
        metrics.pings.add(3);
        metrics.refused(Code::BadTopic);
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
