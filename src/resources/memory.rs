//! How much memory the process may use: what `--max-memory` asks for, of what the machine has and its
//! cgroups allow.
//!
//! Must not: fail where nothing can be read. Read on the main thread, at start.

use std::fmt;
use std::fs;
use std::path::Path;

use super::cgroups::{Cgroups, Read, Version};
use crate::config::MaxMemory;
use crate::limits;

/// The memory to use, and why that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// Bytes; none: not limited.
    pub bytes: Option<usize>,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Cgroup(usize),
    Machine(usize),
    /// It is not known how much there is.
    Unknown,
}

impl MemoryLimit {
    /// What holds now.
    pub(super) fn read(asked: MaxMemory) -> Self {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
        Self::new(asked, Cgroups::of_this_process().smallest("memory", limit), machine)
    }

    fn new(asked: MaxMemory, cgroup: Option<u64>, machine: Option<u64>) -> Self {
        let per_cent = match asked {
            MaxMemory::Off => return Self { bytes: None, source: Source::Flag },
            MaxMemory::Bytes(bytes) => return Self { bytes: Some(bytes), source: Source::Flag },
            MaxMemory::PerCent(per_cent) => per_cent,
        };
        let (available, source) = match (cgroup, machine) {
            (Some(cgroup), machine) if machine.is_none_or(|machine| cgroup < machine) => {
                (cgroup, Source::Cgroup(per_cent))
            }
            (_, Some(machine)) => (machine, Source::Machine(per_cent)),
            _ => return Self { bytes: None, source: Source::Unknown },
        };
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        Self { bytes: Some((available / 100 * per_cent).max(limits::MEMORY_LEAST)), source }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "at most {} MiB", bytes >> 20)?,
            None => f.write_str("not limited")?,
        }
        match self.source {
            Source::Flag => f.write_str(", as the flag says"),
            Source::Cgroup(per_cent) => write!(f, ", {per_cent} % of the cgroup's limit"),
            Source::Machine(per_cent) => write!(f, ", {per_cent} % of the machine's"),
            Source::Unknown => f.write_str(": it cannot be read how much there is"),
        }
    }
}

/// The machine's memory in bytes, by the text of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The limit of one cgroup in bytes. What stands for "none" is no number, or more than any machine has.
fn limit(version: Version, folder: &Path, read: &Read) -> Option<u64> {
    let files: &[_] = match version {
        // Above the first of them the kernel slows the process down, above the other it ends it.
        Version::V2 => &["memory.high", "memory.max"],
        Version::V1 => &["memory.limit_in_bytes"],
    };
    let limits = files.iter().filter_map(|name| read(&folder.join(name))?.trim().parse().ok());
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn limit_is_a_part_of_what_is_less() {
        let gib = |count: u64| usize::try_from(count * GIB).expect("64 bits");
        let part = |bytes: usize| bytes / 100 * 75;
        for (asked, cgroup, machine, want, text) in [
            (MaxMemory::Off, Some(1), Some(2), None, "not limited, as the flag says"),
            (
                MaxMemory::Bytes(gib(3)),
                Some(1),
                Some(2),
                Some(gib(3)),
                "at most 3072 MiB, as the flag says",
            ),
            (
                MaxMemory::PerCent(75),
                Some(1),
                Some(2),
                Some(part(gib(1))),
                "at most 767 MiB, 75 % of the cgroup's limit",
            ),
            (
                MaxMemory::PerCent(75),
                Some(3),
                Some(2),
                Some(part(gib(2))),
                "at most 1535 MiB, 75 % of the machine's",
            ),
            (
                MaxMemory::PerCent(75),
                None,
                Some(2),
                Some(part(gib(2))),
                "at most 1535 MiB, 75 % of the machine's",
            ),
            (
                MaxMemory::PerCent(75),
                Some(1),
                None,
                Some(part(gib(1))),
                "at most 767 MiB, 75 % of the cgroup's limit",
            ),
            (
                MaxMemory::PerCent(75),
                None,
                None,
                None,
                "not limited: it cannot be read how much there is",
            ),
            (
                MaxMemory::PerCent(1),
                Some(1),
                None,
                Some(64 << 20),
                "at most 64 MiB, 1 % of the cgroup's limit",
            ),
        ] {
            let limit = MemoryLimit::new(asked, cgroup.map(|c| c * GIB), machine.map(|m| m * GIB));
            assert_eq!((limit.bytes, limit.to_string()), (want, text.to_owned()));
        }
    }

    #[test]
    fn machine_has_what_meminfo_says() {
        assert_eq!(total("MemTotal:       24574776 kB\nMemFree: 1 kB\n"), Some(24_574_776 * 1024));
        assert_eq!(total("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn cgroups_of_both_versions_have_limits() {
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        let v1 = "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        for (cgroup, mountinfo, files, want) in [
            ("0::/a/b\n", v2, &[("/sys/fs/cgroup/a/b/memory.max", "max\n")][..], None),
            (
                "0::/a/b\n",
                v2,
                &[
                    ("/sys/fs/cgroup/a/b/memory.max", "2000\n"),
                    ("/sys/fs/cgroup/a/memory.max", "1000\n"),
                ],
                Some(1000),
            ),
            (
                "0::/a\n",
                v2,
                &[
                    ("/sys/fs/cgroup/a/memory.max", "2000\n"),
                    ("/sys/fs/cgroup/a/memory.high", "1500\n"),
                ],
                Some(1500),
            ),
            (
                "4:memory:/a\n",
                v1,
                &[("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4000\n")],
                Some(4000),
            ),
            (
                "4:cpu:/a\n",
                v1,
                &[("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4000\n")],
                None,
            ),
        ] {
            let cgroups = Cgroups::from_texts(cgroup, mountinfo, files);
            assert_eq!(cgroups.smallest("memory", limit), want, "{cgroup} {files:?}");
        }
    }
}
