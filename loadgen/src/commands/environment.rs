//! The machine and the target of a run, for the results, and the checks before a run: file
//! descriptors, and whether the target responds.
//!
//! Must not: change anything but this process's own soft limit.

use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::system::uname;
use serde_json::Value;

use super::process::get;
use crate::input::target::Target;
use crate::input::{Error, fail};
use crate::measure::results::Environment;
use crate::model::names::Inherited;

/// Descriptors beside the actors' sockets: files, epolls, wakers, the requests of the checks.
const OTHER: u64 = 64;

/// Raises the soft limit of descriptors to the hard one and checks that it suffices.
///
/// # Errors
/// One line with two solutions, when `sockets` are more than the limit.
pub(crate) fn descriptors(sockets: usize) -> Result<(), Error> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // If this fails, the old limit remains, which is checked below.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let needed = sockets as u64 + OTHER;
    match getrlimit(Resource::Nofile).current {
        Some(have) if have < needed => fail(format!(
            "too few file descriptors: this run needs {needed}, the limit is {have}; raise it (ulimit -n {needed}) or run with --scale {:.2}",
            (have.saturating_sub(OTHER) as f64 / sockets as f64 * 100.0).floor() / 100.0
        )),
        _ => Ok(()),
    }
}

/// Checks that the target responds.
///
/// # Errors
/// One line, when a connect fails or /ping is not answered with 200.
pub(crate) fn reachable(target: Target) -> Result<(), Error> {
    if let Err(error) =
        std::net::TcpStream::connect_timeout(&target.tcp, std::time::Duration::from_secs(2))
    {
        return fail(format!(
            "{}: {error}; start a lookupd there, or give --server-cmd 'musterd --tcp-address {{tcp}} --http-address {{http}}'",
            target.tcp
        ));
    }
    let http = target.http;
    get(http, "/ping").map(drop).ok_or_else(|| {
        Error(format!("http://{http}/ping is not answered; is --http the lookupd's HTTP address?"))
    })
}

/// The names that the target has already.
///
/// # Errors
/// One line, when it does not list them.
pub(crate) fn inherited(target: Target) -> Result<Inherited, Error> {
    let ask = |path: &str| {
        let answer = get(target.http, path).ok_or_else(|| unlisted(target, path))?;
        serde_json::from_str::<Value>(&answer).map_err(|_| unlisted(target, path))
    };
    let strings = |list: &Value| -> BTreeSet<String> {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let topics = strings(&ask("/topics")?["topics"]);
    let channels = if topics.is_empty() {
        BTreeSet::new()
    } else {
        strings(&ask("/channels?topic=*")?["channels"])
    };
    Ok(Inherited { topics, channels })
}

fn unlisted(target: Target, path: &str) -> Error {
    let http = target.http;
    Error(format!("http://{http}{path} is no list; is --http the lookupd's HTTP address?"))
}

/// The machine and the target.
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
        began: crate::clock::Clock::system().now().unix_nanos() as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_descriptors_give_the_limit_and_two_solutions() {
        let error = descriptors(usize::MAX / 2).expect_err("no system has as many").to_string();
        assert!(error.contains("ulimit -n") && error.contains("--scale"), "{error}");
        assert_eq!(descriptors(1), Ok(()));
    }

    #[test]
    fn unreachable_target_is_named() {
        // Nothing listens on this address.
        let target = Target::new("127.0.0.77:1", "127.0.0.77:1", false).expect("loopback");
        let error = reachable(target).expect_err("nothing listens").to_string();
        assert!(error.contains("127.0.0.77:1") && error.contains("--server-cmd"), "{error}");
    }
}
