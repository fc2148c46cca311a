//! The resources that a musterd holds at one time: memory, descriptors and threads from /proc, the
//! rest from its /metrics page.
//!
//! Must not: fetch the page; the caller passes a function.

/// The resources of one process at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Resident memory in bytes.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
    /// Open connections; the request for the page is one of the HTTP connections.
    pub(crate) tcp: u64,
    pub(crate) http: u64,
    /// Registrations: topics and channels, counted once for each nsqd.
    pub(crate) registrations: u64,
    /// Topics and channels.
    pub(crate) names: u64,
    /// Published values that were replaced and are not freed yet.
    pub(crate) waiting: u64,
    /// Output that peers have not read, in bytes.
    pub(crate) queued: u64,
    /// Connections closed by a panic, since the start.
    pub(crate) panicked: u64,
}

impl Footprint {
    /// The footprint of process `pid`, whose /metrics page `page` fetches; `None` when the process has
    /// ended or may not be read, or the page lacks a figure. Descriptors are counted before the page
    /// is fetched, which uses one.
    pub(crate) fn of(pid: u32, page: impl FnOnce() -> Option<String>) -> Option<Self> {
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&status, descriptors as u64, &page()?)
    }

    fn parse(status: &str, descriptors: u64, page: &str) -> Option<Self> {
        let figure = |text: &str, key: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        let both = |name: &str| {
            let side = |port| figure(page, &format!("{name}{{port=\"{port}\"}} "));
            Some((side("tcp")?, side("http")?))
        };
        let panics = |port: &str| {
            let closed = "musterd_connections_closed_total";
            figure(page, &format!("{closed}{{port=\"{port}\",reason=\"panic\"}} "))
        };
        let (tcp, http) = both("musterd_connections")?;
        let sum = |(tcp, http): (u64, u64)| tcp + http;
        Some(Self {
            resident: figure(status, "VmRSS:")? * 1024,
            descriptors,
            threads: figure(status, "Threads:")?,
            tcp,
            http,
            registrations: figure(page, "musterd_registrations ")?,
            names: figure(page, "musterd_topics ")? + figure(page, "musterd_channels ")?,
            waiting: figure(page, "musterd_snapshots_retired ")?,
            queued: both("musterd_output_queued_bytes").map(sum)?,
            panicked: panics("tcp")? + panics("http")?,
        })
    }

    /// Differences from `before`, one text for each figure. Memory and values that wait to be freed
    /// vary a little, so their growth is checked over time instead.
    pub(crate) fn left_since(&self, before: &Self) -> Vec<String> {
        let figures = [
            ("descriptors", self.descriptors, before.descriptors),
            ("threads", self.threads, before.threads),
            ("TCP connections", self.tcp, before.tcp),
            ("HTTP connections", self.http, before.http),
            ("registrations", self.registrations, before.registrations),
            ("names", self.names, before.names),
            ("queued bytes", self.queued, before.queued),
            ("panics", self.panicked, before.panicked),
        ];
        let left = figures.into_iter().filter(|(_, now, then)| now != then);
        left.map(|(name, now, then)| format!("{now} {name}, {then} at the beginning")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tmusterd\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\nThreads:\t7\n";
    const PAGE: &str = "# HELP musterd_topics Topics.\nmusterd_topics 2\nmusterd_channels 3\n\
        musterd_registrations 6\nmusterd_snapshots_retired 9\n\
        musterd_connections{port=\"tcp\"} 3\nmusterd_connections{port=\"http\"} 1\n\
        musterd_output_queued_bytes{port=\"tcp\"} 10\nmusterd_output_queued_bytes{port=\"http\"} 20\n\
        musterd_connections_closed_total{port=\"tcp\",reason=\"panic\"} 0\n\
        musterd_connections_closed_total{port=\"http\",reason=\"panic\"} 0\n";

    #[test]
    fn page_and_status_are_parsed() {
        let got = Footprint::parse(STATUS, 12, PAGE).expect("complete");
        let want = Footprint {
            resident: 2 << 20,
            descriptors: 12,
            threads: 7,
            tcp: 3,
            http: 1,
            registrations: 6,
            names: 5,
            waiting: 9,
            queued: 30,
            panicked: 0,
        };
        assert_eq!(got, want);
        assert_eq!(Footprint::parse(STATUS, 12, "musterd_topics 5\n"), None);
        assert_eq!(Footprint::parse("", 12, PAGE), None);
    }

    #[test]
    fn every_difference_is_reported() {
        let before = Footprint { descriptors: 12, resident: 1, ..Footprint::default() };
        let later = Footprint { resident: 9, waiting: 9, ..before };
        assert!(later.left_since(&before).is_empty());
        let left = Footprint { descriptors: 13, registrations: 2, ..before }.left_since(&before);
        assert_eq!(
            left,
            ["13 descriptors, 12 at the beginning", "2 registrations, 0 at the beginning"]
        );
    }
}
