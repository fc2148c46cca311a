//! What a container or an operator takes away from the process: it says so in one line, and ends.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::support::{ANYWHERE, command};

/// `io_uring_setup(2)`, the same number on every architecture.
const IO_URING_SETUP: i64 = 425;

/// Runs `command` to its end under a seccomp profile that answers a system call with an error, as
/// the profiles of container runtimes do.
fn run_refused(mut command: Command, call: i64, error: rustix::io::Errno) -> Output {
    let errno = u32::try_from(error.raw_os_error()).expect("positive");
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, vec![])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into().expect("an architecture of seccompiler's"),
    );
    let filter: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    // A filter is its thread's and its children's, for good: so a thread of its own.
    let run = move || {
        apply_filter(&filter).expect("seccomp needs no privilege");
        command.output().expect("the daemon's binary runs")
    };
    std::thread::spawn(run).join().expect("it does not panic")
}

/// The daemon ended with code 1, one fatal line that names the remedy, and nothing half-started.
fn assert_told(done: &Output, remedy: &str) {
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!((done.status.code(), &*done.stdout), (Some(1), &b""[..]), "{stderr}");
    let fatal: Vec<_> = stderr.lines().filter(|line| line.contains("FATAL: ")).collect();
    assert!(matches!(fatal[..], [line] if line.contains(remedy)), "{remedy}: {stderr}");
    assert!(!stderr.contains("listening on") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_refused_io_uring_is_one_line_with_its_remedy() {
    use rustix::io::Errno;
    let errors = [
        (Errno::PERM, "kernel.io_uring_disabled=0"),
        (Errno::ACCESS, "seccomp profile that lets io_uring_setup through"),
        (Errno::NOSYS, "Linux 5.8 or newer with CONFIG_IO_URING"),
        (Errno::NOMEM, "LimitMEMLOCK="),
        (Errno::MFILE, "ulimit -n"),
        (Errno::INVAL, "io_uring_setup(2)"),
    ];
    for (error, remedy) in errors {
        let done = run_refused(command(&ANYWHERE), IO_URING_SETUP, error);
        assert_told(&done, remedy);
        assert_told(&done, "io_uring is not available");
    }
}

#[test]
fn a_limit_that_is_too_low_is_one_line_with_its_remedy() {
    let limited = |limit: &str| {
        let script = format!("ulimit {limit} && exec \"$@\"");
        let with = ["-c", &script, "sh"];
        crate::support::command_by("sh", &with, &ANYWHERE).output().expect("a shell")
    };
    assert_told(&limited("-l 64"), "LimitMEMLOCK=");
    assert_told(&limited("-l 0"), "LimitMEMLOCK=");
    assert_told(&limited("-n 100"), "LimitNOFILE=");
    // The least of descriptors: what the line says is enough is enough.
    let told = limited("-n 100");
    let told = String::from_utf8_lossy(&told.stderr);
    let (before, _) = told.split_once(" file descriptors are needed").expect("said above");
    let needed = before.rsplit(' ').next().expect("a number");
    let script = format!("ulimit -n {needed} && exec \"$@\"");
    let with = ["-c", &script, "sh"];
    let daemon = crate::support::Daemon::spawn(crate::support::command_by("sh", &with, &ANYWHERE));
    assert_eq!(crate::support::HttpClient::connect(daemon.http).get("/ping"), "OK");
}
