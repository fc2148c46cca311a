//! What the cgroups of this process allow, of version 1 and 2: see cgroups(7) and proc(5).
//!
//! Must not: fail where there are none. Read on the main thread, at start.

use std::fs;
use std::path::{Path, PathBuf};

/// Reads a file, if it can.
pub(super) type Read = dyn Fn(&Path) -> Option<String>;

/// The cgroups of a process.
pub(super) struct Cgroups {
    /// The text of `/proc/self/cgroup`.
    cgroup: String,
    /// The text of `/proc/self/mountinfo`.
    mountinfo: String,
    /// Reads a file below a mount point.
    read: Box<Read>,
}

/// Which kind of cgroup a folder is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Cgroups {
    pub(super) fn of_this_process() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cgroup: file("/proc/self/cgroup"),
            mountinfo: file("/proc/self/mountinfo"),
            read: Box::new(|path| fs::read_to_string(path).ok()),
        }
    }

    /// The smallest value that a controller has for the process's own cgroup and those above it.
    /// `value` finds that of a folder, whose files it reads with what it is given.
    pub(super) fn smallest<T: Ord>(
        &self,
        controller: &str,
        value: impl Fn(Version, &Path, &Read) -> Option<T>,
    ) -> Option<T> {
        let values = self.cgroup.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let version = match controllers {
                "" => Version::V2,
                _ if controllers.split(',').any(|name| name == controller) => Version::V1,
                _ => return None,
            };
            let (mount, own) = self.locate(version, controller, path)?;
            let folders = own.ancestors().take_while(|folder| folder.starts_with(&mount));
            folders.filter_map(|folder| value(version, folder, &self.read)).min()
        });
        values.min()
    }

    /// Where the hierarchy of the controller is mounted, and the folder of the cgroup `path` in it.
    fn locate(&self, version: Version, controller: &str, path: &str) -> Option<(PathBuf, PathBuf)> {
        let mounts = self.mountinfo.lines().filter_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let mut system = system.split(' ');
            let (kind, options) = (system.next()?, system.nth(1)?);
            let matches = match version {
                Version::V1 => {
                    kind == "cgroup" && options.split(',').any(|name| name == controller)
                }
                Version::V2 => kind == "cgroup2",
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

    /// Those that these texts show, whose files are `files`.
    #[cfg(test)]
    pub(super) fn from_texts(cgroup: &str, mountinfo: &str, files: &[(&str, &str)]) -> Self {
        let files: Vec<_> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        let read = move |path: &Path| {
            files.iter().find(|(name, _)| name == path).map(|(_, text)| text.clone())
        };
        Self { cgroup: cgroup.to_owned(), mountinfo: mountinfo.to_owned(), read: Box::new(read) }
    }
}
