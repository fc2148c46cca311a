//! The `process_*` families, as every Prometheus client library has them.
//!
//! /proc is opened once, at the start: a scrape must work when no descriptor is left, which is when
//! the number of open ones is wanted most. Must not: walk anything but the descriptors, and that only
//! before Linux 6.2.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{RawDir, SeekFrom, fstat, seek};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use super::Families;

/// Registers this process's families; without /proc, only those that need none.
pub fn register(families: &mut Families) {
    let help = "Processor time used, in user and system mode.";
    families.counter("process_cpu_seconds_total", help, &[], cpu_seconds);
    let help = "The most descriptors that the process may have open.";
    if let Ok(limits) = File::open("/proc/self/limits") {
        families.gauge("process_max_fds", help, &[], move || {
            limit(&limits, "Max open files").map_or(0, |(current, _)| current)
        });
    }
    if let Ok(stat) = File::open("/proc/self/stat").map(Arc::new) {
        let help = "Resident memory.";
        let read = Arc::clone(&stat);
        families.gauge("process_resident_memory_bytes", help, &[], move || {
            field(&read, RSS_PAGES).unwrap_or(0) * page_size() as u64
        });
        if let Ok(at) = start_seconds(&stat) {
            let help = "When the process started, since 1970-01-01 UTC.";
            families.gauge("process_start_time_seconds", help, &[], move || at);
        }
    }
    if let Ok(descriptors) = File::open("/proc/self/fd").map(Mutex::new) {
        let help = "Open descriptors.";
        families.gauge("process_open_fds", help, &[], move || {
            let directory = descriptors.lock().unwrap_or_else(PoisonError::into_inner);
            open_descriptors(&directory).unwrap_or(0)
        });
    }
}

/// A limit of /proc/self/limits by its name there: what holds, and what the process may raise it to.
/// It needs no `prlimit64`, which a seccomp profile may refuse.
pub(crate) fn limit(limits: &File, name: &str) -> Option<(u64, u64)> {
    let mut buffer = [0; 4096];
    let length = limits.read_at(&mut buffer, 0).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    let row = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = |word: &str| if word == "unlimited" { Some(u64::MAX) } else { word.parse().ok() };
    let mut words = row.split_whitespace();
    Some((number(words.next()?)?, number(words.next()?)?))
}

/// Fields of /proc/self/stat, counted as proc(5) does.
const START_TICKS: usize = 22;
const RSS_PAGES: usize = 24;

fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// A number of /proc/self/stat.
fn field(stat: &File, number: usize) -> io::Result<u64> {
    let mut buffer = [0; 1024];
    let length = stat.read_at(&mut buffer, 0)?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    // The second field, the name of the program in parentheses, may hold anything.
    let fields =
        text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(number - 3));
    fields.and_then(|field| field.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

/// Seconds from 1970-01-01 UTC to the start of the process.
fn start_seconds(stat: &File) -> io::Result<f64> {
    let ticks = field(stat, START_TICKS)?;
    let system = std::fs::read_to_string("/proc/stat")?;
    let boot =
        system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    let boot = boot.ok_or(io::ErrorKind::InvalidData)?;
    Ok(boot as f64 + ticks as f64 / clock_ticks_per_second() as f64)
}

/// How many entries /proc/self/fd has.
fn open_descriptors(directory: &File) -> io::Result<u64> {
    // Linux 6.2 and later say it at once.
    if let Ok(count @ 1..) = u64::try_from(fstat(directory)?.st_size) {
        return Ok(count);
    }
    seek(directory, SeekFrom::Start(0))?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        count += u64::from(entry?.file_name().to_bytes()[0] != b'.');
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_described() {
        let mut families = Families::default();
        register(&mut families);
        let text = Arc::new(families).render(super::super::Format::Text);
        let figure = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
        };
        assert!(figure("process_resident_memory_bytes") > 1e6, "{text}");
        assert!(figure("process_cpu_seconds_total") > 0.0, "{text}");
        let (open, most) = (figure("process_open_fds"), figure("process_max_fds"));
        assert!((3.0..most).contains(&open), "{text}");
        // After 2020, and not in the future.
        let since =
            std::fs::metadata("/proc/self").and_then(|proc| proc.modified()).expect("/proc");
        let since = since.duration_since(std::time::UNIX_EPOCH).expect("it is later").as_secs_f64();
        assert!((1.6e9..since + 2.0).contains(&figure("process_start_time_seconds")), "{text}");
    }

    #[test]
    fn descriptors_are_counted_with_those_that_are_opened_later() {
        let directory = File::open("/proc/self/fd").expect("/proc");
        let listed = || std::fs::read_dir("/proc/self/fd").expect("/proc").count() as u64 - 1;
        // Other tests open and close some at the same time.
        let agrees = (0..1_000).any(|_| open_descriptors(&directory).expect("a count") == listed());
        assert!(agrees, "{} are listed", listed());
    }
}
