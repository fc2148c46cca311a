//! What a container or an operator denies to the process: the daemon serves on plain threads, with fewer
//! workers, or says in one line what is missing, and ends.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::support::{ANYWHERE, Daemon, HttpClient, Nsqd, command, command_by};

/// The system calls of io_uring, the same numbers on every architecture.
const IO_URING: [(&str, i64); 3] =
    [("io_uring_setup", 425), ("io_uring_enter", 426), ("io_uring_register", 427)];

/// Its number on this architecture.
const SCHED_SETAFFINITY: i64 = if cfg!(target_arch = "x86_64") { 203 } else { 122 };

/// Others that a profile may refuse, with their numbers on x86-64 and elsewhere.
const TIMERFD_CREATE: i64 = if cfg!(target_arch = "x86_64") { 283 } else { 85 };
const PRLIMIT64: i64 = if cfg!(target_arch = "x86_64") { 302 } else { 261 };
const SCHED_GETAFFINITY: i64 = if cfg!(target_arch = "x86_64") { 204 } else { 123 };

/// Spawns `command` under a seccomp profile that answers system calls with an error, as the profiles
/// of container runtimes do.
fn spawn_refused(mut command: Command, calls: &[i64], error: Errno) -> Child {
    let errno = u32::try_from(error.raw_os_error()).expect("positive");
    let filter = SeccompFilter::new(
        calls.iter().map(|&call| (call, vec![])).collect::<BTreeMap<_, _>>(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into().expect("an architecture of seccompiler's"),
    );
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    // With it std forks: glibc's posix_spawn, where prlimit64 is refused, takes no descriptor past 255.
    command.gid(rustix::process::getgid().as_raw());
    // A filter is its thread's and its children's, for good: so a thread of its own.
    let run = move || {
        apply_filter(&filter).expect("seccomp needs no privilege");
        command.spawn().expect("the daemon's binary runs")
    };
    std::thread::spawn(run).join().expect("it does not panic")
}

/// The daemon's command with `flags`, run by a shell under `ulimit` with this `limit`.
fn limited(limit: &str, flags: &[&str]) -> Command {
    let script = format!("ulimit {limit} && exec \"$@\"");
    command_by("sh", &["-c", &script, "sh"], &[&ANYWHERE, flags].concat())
}

/// The daemon ended with code 1, one fatal line that names the remedy, and nothing half-started.
fn assert_fatal(done: &Output, remedy: &str) {
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!((done.status.code(), &*done.stdout), (Some(1), &b""[..]), "{stderr}");
    let fatal: Vec<_> = stderr.lines().filter(|line| line.contains("FATAL: ")).collect();
    assert!(matches!(fatal[..], [line] if line.contains(remedy)), "{remedy}: {stderr}");
    assert!(!stderr.contains("listening on") && !stderr.contains("panicked"), "{stderr}");
}

/// The daemon serves both ports on plain threads, has said why in one line, and stops in order.
fn assert_serves_on_threads(child: Child, reason: &str) {
    let lines = serve_on_threads(child, reason);
    assert!(!lines.iter().any(|line| line.contains("PANIC")), "{lines:#?}");
}

/// The same, whatever else it logs, which is returned. Nothing of glommio is left in it.
fn serve_on_threads(child: Child, reason: &str) -> Vec<String> {
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let daemon = Daemon::attach(child);
    let lines = daemon.earlier_lines();
    let about: Vec<_> = lines.iter().filter(|line| line.contains("instead of glommio")).collect();
    let wanted = |line: &str| line.contains("TCP: thread instead") && line.contains(reason);
    assert!(matches!(about[..], [line] if wanted(line)), "{reason}: {lines:#?}");
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    nsqd.command("REGISTER t c");
    assert!(HttpClient::connect(daemon.http).get("/lookup?topic=t").contains("nsqd-a.example"));
    let metrics = HttpClient::connect(daemon.http).get("/metrics");
    assert!(metrics.contains("\nmusterd_tcp_runtime{runtime=\"thread\"} 1\n"), "{metrics}");
    let descriptors = std::fs::read_dir(process.join("fd")).expect("it runs").flatten();
    let mut rings = descriptors.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    assert!(!rings.any(|target| target.ends_with("[io_uring]")), "a ring is left");
    [lines, daemon.stop()].concat()
}

#[test]
fn denied_io_uring_falls_back_to_the_thread_host() {
    let auto = || command(&[&ANYWHERE[..], &["--tcp-runtime=auto"]].concat());
    for error in [Errno::PERM, Errno::ACCESS, Errno::NOSYS, Errno::NOMEM, Errno::INVAL] {
        for (name, call) in IO_URING {
            let child = spawn_refused(auto(), &[call], error);
            assert_serves_on_threads(child, &format!("{name}: {error}"));
        }
        // One of the three alone is of no use.
        for (allowed, _) in IO_URING {
            let others = IO_URING.iter().filter(|(name, _)| *name != allowed);
            let others: Vec<_> = others.map(|&(_, call)| call).collect();
            assert_serves_on_threads(spawn_refused(auto(), &others, error), "io_uring_");
        }
        // As Docker's default profile does.
        let child = spawn_refused(auto(), &IO_URING.map(|(_, call)| call), error);
        assert_serves_on_threads(child, &format!("io_uring_setup: {error}"));
    }
    let child = spawn_refused(auto(), &[IO_URING[0].1], Errno::MFILE);
    assert_serves_on_threads(child, "ulimit -n");
}

/// The probe pins nothing and an executor does: so it fails where the probe has passed. That
/// glommio's own thread panics then is its way to say so.
#[test]
fn glommio_that_fails_behind_the_probe_falls_back_to_the_thread_host() {
    let spawn = |runtime| {
        let command = command(&[&ANYWHERE[..], &["--shards=3", runtime]].concat());
        spawn_refused(command, &[SCHED_SETAFFINITY], Errno::PERM)
    };
    serve_on_threads(spawn("--tcp-runtime=auto"), "permission denied");
    let done = spawn("--tcp-runtime=glommio").wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("FATAL: TCP did not start: permission denied"), "{stderr}");
}

#[test]
fn refused_limits_do_not_stop_the_daemon() {
    for error in [Errno::PERM, Errno::NOSYS] {
        let daemon = Daemon::attach(spawn_refused(command(&ANYWHERE), &[PRLIMIT64], error));
        Nsqd::identified(daemon.tcp, "a").command("REGISTER t");
        let mut http = HttpClient::connect(daemon.http);
        assert!(http.get("/topics").contains("\"t\""));
        assert!(http.get("/metrics").contains("\nprocess_max_fds "));
        let lines = daemon.stop();
        assert!(!lines.iter().any(|line| line.contains("PANIC")), "{error}: {lines:#?}");
    }
}

#[test]
fn calls_that_nothing_replaces_are_named_in_one_fatal_line() {
    let refused = spawn_refused(command(&ANYWHERE), &[SCHED_GETAFFINITY], Errno::PERM);
    let done = refused.wait_with_output().expect("it ends");
    assert_fatal(&done, "sched_getaffinity: Operation not permitted");
    for runtime in ["--tcp-runtime=auto", "--tcp-runtime=thread"] {
        let command = command(&[&ANYWHERE[..], &[runtime]].concat());
        let child = spawn_refused(command, &[TIMERFD_CREATE], Errno::PERM);
        let done = child.wait_with_output().expect("it ends");
        assert_fatal(&done, "timerfd_create: Operation not permitted");
    }
}

#[test]
fn denied_io_uring_with_glommio_asked_for_is_one_fatal_line() {
    let glommio = || command(&[&ANYWHERE[..], &["--tcp-runtime=glommio"]].concat());
    let errors = [
        (Errno::PERM, "kernel.io_uring_disabled=0"),
        (Errno::ACCESS, "profile that allows io_uring_setup, io_uring_enter and io_uring_register"),
        (Errno::NOSYS, "Linux 5.8 or newer with CONFIG_IO_URING"),
        (Errno::NOMEM, "LimitMEMLOCK="),
        (Errno::MFILE, "ulimit -n"),
        (Errno::INVAL, "io_uring_setup(2)"),
    ];
    for (error, remedy) in errors {
        for (name, call) in IO_URING {
            let child = spawn_refused(glommio(), &[call], error);
            let done = child.wait_with_output().expect("it ends");
            assert_fatal(&done, remedy);
            assert_fatal(&done, &format!("io_uring is not available: {name}: "));
        }
    }
}

#[test]
fn little_lockable_memory_falls_back_to_the_thread_host() {
    for limit in ["-l 64", "-l 0"] {
        let child = limited(limit, &["--tcp-runtime=auto"]).spawn().expect("a shell");
        assert_serves_on_threads(child, "LimitMEMLOCK=");
        let done = limited(limit, &["--tcp-runtime=glommio"]).output().expect("a shell");
        assert_fatal(&done, "LimitMEMLOCK=");
    }
}

#[test]
fn too_few_descriptors_are_one_fatal_line() {
    let done = limited("-n 100", &[]).output().expect("a shell");
    for remedy in ["LimitNOFILE=", "(32 for each worker, one for each connection)"] {
        assert_fatal(&done, remedy);
    }
    // What the line says is enough is enough.
    let stderr = String::from_utf8_lossy(&done.stderr);
    let (before, _) = stderr.split_once(" file descriptors are needed").expect("asserted above");
    let needed = before.rsplit(' ').next().expect("a number");
    let daemon = Daemon::spawn(limited(&format!("-n {needed}"), &[]));
    assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
}

/// As on a host with 64 cores: both ways out that the line names are followed.
#[test]
fn advice_about_descriptors_is_true() {
    let flags = ["--shards=64", "--http-workers=64", "--max-tcp-connections=100"];
    let done = limited("-n 4096", &flags).output().expect("a shell");
    assert_fatal(&done, "4261 file descriptors are needed");
    assert_fatal(&done, "or lower --shards and --http-workers to 122 in all");
    let fewer = ["--shards=61", "--http-workers=61", "--max-tcp-connections=100"];
    for (limit, flags) in [("-n 4096", fewer), ("-n 4261", flags)] {
        let daemon =
            Daemon::spawn(limited(limit, &[&flags[..], &["--tcp-runtime=thread"]].concat()));
        assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
    }
}

#[test]
fn workers_shrink_before_too_few_descriptors_fail_the_start() {
    // 64 for the daemon and 32 for each of three workers are the least.
    let daemon = Daemon::spawn(limited("-n 170", &[]));
    assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
    let lines = daemon.earlier_lines();
    assert!(
        lines.iter().any(|line| line.contains("TCP: ") && line.contains(" 1 worker, ")),
        "{lines:?}"
    );
    let done = limited("-n 170", &["--shards=2"]).output().expect("a shell");
    assert_fatal(&done, "--shards");
}

/// A cgroup with a CPU quota; gone with the value.
struct Cgroup(PathBuf);

impl Cgroup {
    /// As this machine has them: v2, or v1 with a hierarchy for the CPU.
    fn with_quota(cpus_in_tenths: u32) -> std::io::Result<Self> {
        let name = format!("musterd-test-{}", std::process::id());
        let root = PathBuf::from("/sys/fs/cgroup");
        let quota = cpus_in_tenths * 10_000;
        let (folder, file, text) = if root.join("cgroup.controllers").exists() {
            std::fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
            (root.join(name), "cpu.max", format!("{quota} 100000"))
        } else {
            (root.join("cpu").join(name), "cpu.cfs_quota_us", quota.to_string())
        };
        if !folder.parent().is_some_and(std::path::Path::exists) {
            return Err(ErrorKind::NotFound.into());
        }
        std::fs::create_dir(&folder)?;
        let cgroup = Self(folder);
        std::fs::write(cgroup.0.join(file), text)?;
        Ok(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // It is empty once its last process is waited for.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot be made says so")]
fn cpu_quota_of_one_core_starts_one_tcp_worker() {
    let cgroup = match Cgroup::with_quota(10) {
        Ok(cgroup) => cgroup,
        Err(error) => return eprintln!("skipped: no cgroup with a CPU quota here: {error}"),
    };
    let script = "echo $$ > \"$0\" && exec \"$@\"";
    let procs = cgroup.0.join("cgroup.procs").display().to_string();
    let daemon = Daemon::spawn(command_by("sh", &["-c", script, &procs], &ANYWHERE));
    let lines = daemon.earlier_lines();
    let cpus = std::thread::available_parallelism().expect("known").get();
    let source = if cpus > 1 {
        "as the CPU quota of the cgroup allows"
    } else {
        "one per CPU of the affinity"
    };
    let wanted = format!(", 1 worker, {source}");
    assert!(lines.iter().any(|line| line.contains("TCP: ") && line.contains(&wanted)), "{lines:?}");
    let least = |line: &String| line.contains("HTTP: ") && line.contains("2 workers, the least");
    assert!(lines.iter().any(least), "{lines:?}");
    daemon.stop();
}
