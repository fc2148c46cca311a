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

/// What the kernel counts for the whole machine, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct MachineSample {
    /// CPU time that all programs used, in seconds.
    pub(crate) cpu: Option<f64>,
    /// The time in which some thread waited for a CPU, in seconds.
    pub(crate) pressure: Option<f64>,
}

/// Samples the machine; what the kernel does not count is absent.
pub(crate) fn machine() -> MachineSample {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    parse_machine(&read("/proc/stat"), &read("/proc/pressure/cpu"))
}

fn parse_machine(stat: &str, pressure: &str) -> MachineSample {
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user and nice
    // (proc(5)). Idle and iowait are no use of a CPU; steal is what the host's other guests use.
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let used = fields.and_then(|fields| {
        let ticks: Vec<u64> =
            fields.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(ticks.iter().sum::<u64>().saturating_sub(idle))
    });
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "));
    let micros = some.and_then(|some| some.split_once("total=")?.1.trim().parse::<u64>().ok());
    MachineSample {
        cpu: used.map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
        pressure: micros.map(|micros| micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_is_parsed_and_may_lack_both_files() {
        let stat = "cpu  100 20 30 9000 500 1 2 47 10 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let pressure =
            "some avg10=98.14 avg60=93.61 avg300=83.51 total=2500000\nfull avg10=0.00 total=0\n";
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let want = MachineSample { cpu: Some(200.0 / ticks), pressure: Some(2.5) };
        assert_eq!(parse_machine(stat, pressure), want);
        assert_eq!(parse_machine("cpu  x", ""), MachineSample::default());
    }

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
