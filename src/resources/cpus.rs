//! How many CPUs the process may use: by its affinity mask, and by the CPU quotas of its cgroups.
//!
//! A container with a quota of one CPU on a machine of many sees all of them in its mask; workers for
//! all of them would only be throttled.
//!
//! Must not: fail where there are no cgroups. Read on the main thread, at start.

use std::path::Path;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity};

use super::cgroups::{Cgroups, Read, Version};

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
        Ok(Self { mask: affinity()?, quota: Cgroups::of_this_process().smallest("cpu", quota) })
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

/// The CPU quota of one cgroup, rounded up to whole CPUs.
fn quota(version: Version, folder: &Path, read: &Read) -> Option<usize> {
    let file = |name: &str| read(&folder.join(name));
    let (quota, period) = match version {
        // `max 100000` or `150000 100000`
        Version::V2 => file("cpu.max")?
            .split_once(' ')
            .map(|(quota, period)| (quota.to_owned(), period.to_owned()))?,
        Version::V1 => (file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?),
    };
    // `max` and `-1` are no numbers of ours: no quota.
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    let cpus = quota.checked_add(period.checked_sub(1)?)? / period;
    usize::try_from(cpus.max(1)).ok()
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
        let cgroups = Cgroups::from_texts(cgroup, mountinfo, files);
        assert_eq!(cgroups.smallest("cpu", quota), want, "{cgroup} {files:?}");
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
