//! How many CPUs the process may use: by its affinity mask, and by the CPU quotas of its cgroups.
//!
//! A container with a quota of one CPU on a machine of many sees all of them in its mask; workers for
//! all of them would only be throttled.
//!
//! Must not: fail where there are no cgroups. Read on the main thread, at start.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity};

/// The CPUs the process may use.
#[derive(Debug)]
pub(super) struct Cpus {
    /// Those of its affinity mask, in ascending order; never empty.
    pub(super) mask: Vec<usize>,
    /// What its cgroups allow, rounded up; none: no quota.
    pub(super) quota: Option<usize>,
}

impl Cpus {
    /// Reads what holds now.
    ///
    /// # Errors
    /// When the affinity mask cannot be read, or is empty (`ESRCH`).
    pub(super) fn read() -> Result<Self, Errno> {
        let read = |path: &Path| fs::read_to_string(path).ok();
        let file = |path: &str| read(path.as_ref()).unwrap_or_default();
        let quota = quota(&file("/proc/self/cgroup"), &file("/proc/self/mountinfo"), read);
        Ok(Self { mask: affinity()?, quota })
    }

    /// The quota, if it allows less than the mask.
    pub(super) fn limiting_quota(&self) -> Option<usize> {
        self.quota.filter(|&quota| quota < self.mask.len())
    }

    /// How many can be used at once; at least one.
    pub(super) fn count(&self) -> usize {
        self.limiting_quota().unwrap_or(self.mask.len())
    }
}

/// The CPUs of the process's affinity mask, in ascending order; never empty.
///
/// # Errors
/// When the mask cannot be read, or is empty (`ESRCH`).
pub(crate) fn affinity() -> Result<Vec<usize>, Errno> {
    let mask = sched_getaffinity(None)?;
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| mask.is_set(cpu)).collect();
    if cpus.is_empty() { Err(Errno::SRCH) } else { Ok(cpus) }
}

/// The smallest CPU quota of a process's own cgroup and those above it, rounded up to whole CPUs.
/// `cgroup` and `mountinfo` are the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` (see
/// cgroups(7) and proc(5)), `read` reads a file below a mount point.
fn quota(cgroup: &str, mountinfo: &str, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
    let quotas = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let kind = match controllers {
            "" => Kind::V2,
            _ if controllers.split(',').any(|name| name == "cpu") => Kind::V1,
            _ => return None,
        };
        let (mount, own) = locate(kind, path, mountinfo)?;
        let folders = own.ancestors().take_while(|folder| folder.starts_with(&mount));
        folders.filter_map(|folder| kind.quota(folder, &read)).min()
    });
    quotas.min()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    V1,
    V2,
}

/// Where the hierarchy is mounted that has the CPU quotas, and the folder of the cgroup `path` in it.
fn locate(kind: Kind, path: &str, mountinfo: &str) -> Option<(PathBuf, PathBuf)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut system = system.split(' ');
        let (kind_of_system, options) = (system.next()?, system.nth(1)?);
        let matches = match kind {
            Kind::V1 => kind_of_system == "cgroup" && options.split(',').any(|name| name == "cpu"),
            Kind::V2 => kind_of_system == "cgroup2",
        };
        let mut fields = mount.split(' ').skip(3);
        matches.then_some((fields.next()?, PathBuf::from(fields.next()?)))
    });
    let mut folders = mounts.map(|(root, mount)| {
        // In a container the mount may show a part of the hierarchy that the path does not name:
        // then the mount point is the container's own cgroup.
        let below =
            Path::new(path).strip_prefix(root).ok().filter(|below| !below.starts_with(".."));
        (mount.join(below.unwrap_or(Path::new(""))), mount)
    });
    folders.next().map(|(own, mount)| (mount, own))
}

impl Kind {
    /// The quota of one cgroup.
    fn quota(self, folder: &Path, read: impl Fn(&Path) -> Option<String>) -> Option<usize> {
        let file = |name: &str| read(&folder.join(name));
        let (quota, period) = match self {
            // `max 100000` or `150000 100000`
            Self::V2 => file("cpu.max")?
                .split_once(' ')
                .map(|(quota, period)| (quota.to_owned(), period.to_owned()))?,
            Self::V1 => (file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?),
        };
        // `max` and `-1` are no numbers of ours: no quota.
        let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
        let cpus = quota.checked_add(period.checked_sub(1)?)? / period;
        usize::try_from(cpus.max(1)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const V1_MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";
    /// Docker's, where the mount shows the container's part only.
    const V1_CONTAINER: &str = "\
        734 730 0:29 /docker/0af3 /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct";

    fn check(cgroup: &str, mountinfo: &str, files: &[(&str, &str)], want: Option<usize>) {
        let read = |path: &Path| {
            let file = files.iter().find(|(name, _)| Path::new(name) == path);
            file.map(|(_, text)| (*text).to_owned())
        };
        assert_eq!(quota(cgroup, mountinfo, read), want, "{cgroup} {files:?}");
    }

    #[test]
    fn v2_quota_is_the_smallest_of_the_cgroup_and_its_ancestors() {
        let pod = "0::/kubepods.slice/pod1/0af3\n";
        let own = "/sys/fs/cgroup/kubepods.slice/pod1/0af3/cpu.max";
        let parent = "/sys/fs/cgroup/kubepods.slice/pod1/cpu.max";
        for (own_max, parent_max, want) in [
            ("max 100000\n", "max 100000\n", None),
            ("100000 100000\n", "max 100000\n", Some(1)),
            ("150000 100000\n", "max 100000\n", Some(2)),
            ("100001 100000\n", "max 100000\n", Some(2)),
            ("1000 100000\n", "max 100000\n", Some(1)),
            ("400000 100000\n", "250000 100000\n", Some(3)),
            ("max 100000\n", "25000 50000\n", Some(1)),
            ("400000\n", "x y\n", None),
            ("400000 0\n", "", None),
            ("18446744073709551615 2\n", "0 100000", Some(1)),
        ] {
            check(pod, V2_MOUNT, &[(own, own_max), (parent, parent_max)], want);
        }
        check(pod, V2_MOUNT, &[], None);
    }

    #[test]
    fn v2_root_and_namespace_root_are_the_mount_point() {
        let max = [("/sys/fs/cgroup/cpu.max", "200000 100000\n")];
        // A cgroup namespace shows the own cgroup as the root; that of a process moved in from
        // outside shows as above it.
        for path in ["0::/\n", "0::/../../other\n"] {
            check(path, V2_MOUNT, &max, Some(2));
        }
        // The mount shows a part of the hierarchy, with or without the own cgroup.
        let part = V2_MOUNT.replace(" / /sys", " /pod1 /sys");
        check("0::/pod1\n", &part, &max, Some(2));
        check("0::/elsewhere\n", &part, &max, Some(2));
        let below = [("/sys/fs/cgroup/a/cpu.max", "300000 100000\n")];
        check("0::/pod1/a\n", &part, &below, Some(3));
    }

    #[test]
    fn v1_quota_is_the_smallest_of_the_cgroup_and_its_ancestors() {
        let cgroup = "9:name=systemd:/\n5:cpuset:/set\n4:cpu,cpuacct:/a/b\n0::/\n";
        let folder = "/sys/fs/cgroup/cpu,cpuacct";
        let file = |name: &str| format!("{folder}{name}");
        let names = ["/a/b/cpu.cfs_quota_us", "/a/b/cpu.cfs_period_us"];
        let above = ["/a/cpu.cfs_quota_us", "/a/cpu.cfs_period_us"];
        let [own, period] = names.map(file);
        let [parent, parent_period] = above.map(file);
        for (own_quota, parent_quota, want) in
            [("-1\n", "-1\n", None), ("150000\n", "-1\n", Some(2)), ("-1\n", "50000\n", Some(1))]
        {
            let files = [
                (&*own, own_quota),
                (&*period, "100000\n"),
                (&*parent, parent_quota),
                (&*parent_period, "100000\n"),
            ];
            check(cgroup, V1_MOUNTS, &files, want);
        }
        let file = [("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "1\n")];
        check(cgroup, V1_MOUNTS, &file, None);
    }

    #[test]
    fn v1_container_sees_its_own_cgroup_at_the_mount_point() {
        let folder = "/sys/fs/cgroup/cpu,cpuacct";
        let files = [format!("{folder}/cpu.cfs_quota_us"), format!("{folder}/cpu.cfs_period_us")];
        let files = [(&*files[0], "350000\n"), (&*files[1], "100000\n")];
        for path in ["4:cpu,cpuacct:/docker/0af3\n", "4:cpu,cpuacct:/\n"] {
            check(path, V1_CONTAINER, &files, Some(4));
        }
    }

    #[test]
    fn no_cgroups_are_no_quota() {
        for (cgroup, mountinfo) in
            [("", ""), ("0::/\n", ""), ("", V2_MOUNT), ("0::/", V1_CONTAINER)]
        {
            check(cgroup, mountinfo, &[("/sys/fs/cgroup/cpu.max", "100000 100000")], None);
        }
    }

    #[test]
    fn quota_limits_the_affinity_mask() {
        for (quota, count) in [(None, 3), (Some(1), 1), (Some(2), 2), (Some(3), 3), (Some(9), 3)] {
            assert_eq!(Cpus { mask: vec![1, 4, 5], quota }.count(), count, "{quota:?}");
        }
    }
}
