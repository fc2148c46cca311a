//! Where the run takes place, for the results; and whether there are descriptors enough.
//!
//! Must not: change anything but this process's own soft limit.

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::system::uname;

use super::process::get;
use crate::input::target::Target;
use crate::input::{Refused, refuse};
use crate::measure::results::Environment;

/// Descriptors that are no actor's: files, epolls, bells, the questions of the preflight.
const OWN: u64 = 64;

/// Raises the soft limit of descriptors to the hard one and checks that it suffices.
///
/// # Errors
/// One line with both remedies, when `sockets` are more than the limit.
pub(crate) fn descriptors(sockets: usize) -> Result<(), Refused> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused, the old limit stands, and is checked below.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let needed = sockets as u64 + OWN;
    match getrlimit(Resource::Nofile).current {
        Some(have) if have < needed => refuse(format!(
            "too few file descriptors: this run needs {needed}, the limit is {have}; raise it (ulimit -n {needed}) or run with --scale {:.2}",
            (have.saturating_sub(OWN) as f64 / sockets as f64 * 100.0).floor() / 100.0
        )),
        _ => Ok(()),
    }
}

/// Checks that the target answers.
///
/// # Errors
/// One line, when a port refuses or /ping is not answered.
pub(crate) fn reachable(target: Target) -> Result<(), Refused> {
    if let Err(error) =
        std::net::TcpStream::connect_timeout(&target.tcp, std::time::Duration::from_secs(2))
    {
        return refuse(format!(
            "{}: {error}; start a lookupd there, or give --server-cmd 'musterd --tcp-address {{tcp}} --http-address {{http}}'",
            target.tcp
        ));
    }
    match get(target.http, "/ping") {
        Some(_) => Ok(()),
        None => refuse(format!(
            "http://{}/ping is not answered; is --http the lookupd's HTTP address?",
            target.http
        )),
    }
}

/// What is known of the machine and the target.
pub(crate) fn describe(target: Target, threads: usize, command: Option<&str>) -> Environment {
    let system = uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Environment {
        loadgen: env!("CARGO_PKG_VERSION"),
        target: get(target.http, "/info").unwrap_or_default().trim().to_owned(),
        tcp: target.tcp.to_string(),
        http: target.http.to_string(),
        command: command.map(str::to_owned),
        kernel: format!(
            "{} {} {}",
            text(system.sysname()),
            text(system.release()),
            text(system.machine())
        ),
        cpu: model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        threads,
        arguments: std::env::args().skip(1).collect(),
        began: musterd::clock::Clock::system().now().unix_nanos() as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_name_the_limit_and_two_remedies() {
        let refused = descriptors(usize::MAX / 2).expect_err("no system has as many").to_string();
        assert!(refused.contains("ulimit -n") && refused.contains("--scale"), "{refused}");
        assert_eq!(descriptors(1), Ok(()));
    }

    #[test]
    fn a_target_that_refuses_is_named() {
        // Port 1 of a loopback address that nothing listens on.
        let target = Target::new("127.0.0.77:1", "127.0.0.77:1", false).expect("loopback");
        let refused = reachable(target).expect_err("nothing listens").to_string();
        assert!(refused.contains("127.0.0.77:1") && refused.contains("--server-cmd"), "{refused}");
    }
}
