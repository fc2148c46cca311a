//! CPU time and memory of a process, read from /proc.
//!
//! Must not: hold state.

use std::time::Duration;

use serde::Serialize;

/// The usage of a process so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct ProcessSample {
    /// CPU time used so far, user and system, in seconds.
    pub(crate) cpu: f64,
    /// Resident memory now, in bytes.
    pub(crate) resident: u64,
    /// The most resident memory so far, in bytes.
    pub(crate) peak: u64,
}

/// The usage of a process; `None` when it has ended or may not be read.
pub(crate) fn sample(pid: u32) -> Option<ProcessSample> {
    let read = |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    parse(&read("stat")?, &read("status")?)
}

fn parse(stat: &str, status: &str) -> Option<ProcessSample> {
    // The command's name is in parentheses and may contain any character; utime and stime are the
    // 12th and 13th fields after it (proc(5)).
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next()?.ok()? + fields.next()?.ok()?;
    let kilobytes = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some(ProcessSample {
        cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident: kilobytes("VmRSS:")? * 1024,
        peak: kilobytes("VmHWM:")? * 1024,
    })
}

/// The usage of a process between two samples.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Usage {
    /// CPU seconds.
    pub(crate) cpu: f64,
    /// CPU seconds per second.
    pub(crate) cores: f64,
    /// The most resident memory ever, in bytes.
    pub(crate) peak: u64,
    /// Resident memory at the end, in bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// The usage from `first` to `last`, which are `duration` apart.
    pub(crate) fn between(first: ProcessSample, last: ProcessSample, duration: Duration) -> Self {
        let cpu = (last.cpu - first.cpu).max(0.0);
        Self {
            cpu,
            cores: cpu / duration.as_secs_f64().max(1e-9),
            peak: last.peak,
            resident: last.resident,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_spaces_and_parentheses_is_skipped() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 0 0";
        let status = "Name:\ta) b\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let got = parse(stat, status).expect("a complete sample");
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(got, ProcessSample { cpu: 200.0 / ticks, resident: 1 << 20, peak: 2 << 20 });
        assert_eq!(parse("7 (gone", ""), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(sample(std::process::id()).is_some_and(|sample| sample.peak > 0));
    }
}
