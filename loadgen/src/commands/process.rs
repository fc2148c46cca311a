//! The target's process: starts it by a given command, kills it and starts it again; and blocking
//! HTTP requests to the target.
//!
//! Must not: signal a process that this program did not start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::clock::Clock;

use crate::input::target::Target;
use crate::input::{Error, fail};

/// How long a started target may take to answer /ping.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one request to it may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MAX_RESPONSE: usize = 256 * 1024 * 1024;

/// A started target. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    arguments: Vec<String>,
    target: Target,
    child: Option<Child>,
}

impl Process {
    /// Starts `template`, in which `{tcp}` and `{http}` are replaced by the target's addresses, and
    /// waits until it answers. Its processes have a process group of their own, so that Ctrl-C on a
    /// terminal reaches only this program, which ends the run and then the target.
    ///
    /// # Errors
    /// When it is no command, does not start, or does not answer within ten seconds; when `stop` is
    /// set.
    pub(crate) fn start(template: &str, target: Target, stop: &AtomicBool) -> Result<Self, Error> {
        let command = template
            .replace("{tcp}", &target.tcp.to_string())
            .replace("{http}", &target.http.to_string());
        let arguments = split_command(&command)?;
        let mut process = Self { arguments, target, child: None };
        process.spawn(stop)?;
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it and what it has started with SIGKILL, as a crash would end it.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The group's id is the child's, which no other process gets before the wait below. They
            // fail if it has ended already.
            if let Some(group) = group(&child) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it has ended. It is not waited for, so that its id stays its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let id = self.child.as_ref().and_then(group);
        id.is_some_and(|id| matches!(waitid(WaitId::Pid(id), options), Ok(Some(_))))
    }

    /// Starts it again without waiting until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn spawn_again(&mut self) -> Result<(), Error> {
        let (program, arguments) =
            self.arguments.split_first().expect("start() rejects an empty command");
        let spawned = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let child = spawned.or_else(|error| {
            fail(format!("cannot start {program}: {error}; check --server-cmd"))
        })?;
        self.child = Some(child);
        Ok(())
    }

    fn spawn(&mut self, stop: &AtomicBool) -> Result<(), Error> {
        if get(self.target.http, "/ping").is_some() {
            let http = self.target.http;
            return fail(format!(
                "{http} is in use already; stop what listens there or name other ports"
            ));
        }
        self.spawn_again()?;
        let clock = Clock::system();
        let limit = clock.now() + START_TIMEOUT;
        while clock.now() < limit {
            if get(self.target.http, "/ping").is_some() {
                return Ok(());
            }
            if stop.load(Relaxed) {
                return fail("interrupted while the target started; nothing was measured");
            }
            if self.has_ended() {
                return fail(format!(
                    "`{}` ended at once; run it by hand",
                    self.arguments.join(" ")
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        fail(format!(
            "`{}` does not answer http://{}/ping after {} s; does it listen on {{tcp}} and {{http}}?",
            self.arguments.join(" "),
            self.target.http,
            START_TIMEOUT.as_secs()
        ))
    }
}

/// The id of the child, which is also its process group's.
fn group(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two free ports on loopback, below the system's ephemeral ports.
///
/// # Errors
/// When none is free.
pub(crate) fn free_ports() -> Result<(SocketAddr, SocketAddr), Error> {
    let free = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        std::net::TcpListener::bind(address).is_ok().then_some(address)
    };
    // Processes that search at the same time start at different ports.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let mut found = (first..32_000).filter_map(free);
    match (found.next(), found.next()) {
        (Some(tcp), Some(http)) => Ok((tcp, http)),
        _ => fail("no two free ports between 20,000 and 32,000 on 127.0.0.1; stop what uses them"),
    }
}

/// GETs `path`; the body, if the status is 200.
pub(crate) fn get(http: SocketAddr, path: &str) -> Option<String> {
    request(http, "GET", path)
}

/// Sends a request without a body; the response's body, if the status is 200.
pub(crate) fn request(http: SocketAddr, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&http, REQUEST_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut received = 0;
    let mut response = crate::actors::response::Response::new();
    let mut buffer = [0; 16_384];
    while received < MAX_RESPONSE {
        let count = stream.read(&mut buffer).ok()?;
        received += count;
        let done = response.feed(&buffer[..count]).ok()?.is_some();
        if done || count == 0 && response.close() {
            break;
        }
        if count == 0 {
            return None;
        }
    }
    (response.status == 200).then(|| String::from_utf8_lossy(&response.body).into_owned())
}

/// Splits a command line at whitespace, except in single or double quotes.
fn split_command(command: &str) -> Result<Vec<String>, Error> {
    let (mut words, mut word, mut quote, mut inside) = (Vec::new(), String::new(), None, false);
    for char in command.chars() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => (quote, inside) = (Some(char), true),
            (None, ' ' | '\t' | '\n') => {
                if std::mem::take(&mut inside) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(char);
                inside = true;
            }
        }
    }
    if inside {
        words.push(word);
    }
    if quote.is_some() || words.is_empty() {
        return fail(format!(
            "`{command}` is no command; give 'nsqlookupd -tcp-address {{tcp}} -http-address {{http}}'"
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The living processes of the group.
    fn members(group: u32) -> usize {
        let stats = std::fs::read_dir("/proc")
            .expect("Linux")
            .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let member = |stat: &String| {
            let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields.get(2) == Some(&group.to_string().as_str()) && fields[0] != "Z"
        };
        stats.filter(member).count()
    }

    #[test]
    fn target_has_a_group_of_its_own_which_is_killed_whole() {
        let target = Target::new("127.0.0.77:1", "127.0.0.77:1", false).expect("loopback");
        let arguments = ["sh", "-c", "sleep 600 & sleep 600"].map(str::to_owned).to_vec();
        let mut process = Process { arguments, target, child: None };
        process.spawn_again().expect("a shell");
        let group = process.pid().expect("it runs");
        assert_eq!(
            super::group(process.child.as_ref().expect("it runs")),
            rustix::process::getpgid(Pid::from_raw(i32::try_from(group).expect("an id"))).ok()
        );
        // It has begun when the shell has started both.
        while members(group) < 3 {
            std::thread::yield_now();
        }
        assert!(!process.has_ended());
        process.kill();
        while members(group) > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn interrupted_start_ends_at_once() {
        let target = Target::new("127.0.0.77:1", "127.0.0.77:1", false).expect("loopback");
        let error = Process::start("sleep 600", target, &AtomicBool::new(true)).expect_err("stop");
        assert!(error.to_string().contains("interrupted"), "{error}");
        let ended = Process::start("true", target, &AtomicBool::new(false)).expect_err("it ends");
        assert!(ended.to_string().contains("ended at once"), "{ended}");
    }

    #[test]
    fn command_is_split_at_spaces_outside_quotes() {
        let cases: [(&str, &[&str]); 3] = [
            ("a -b  c", &["a", "-b", "c"]),
            ("'a b' \"c 'd'\" e=''", &["a b", "c 'd'", "e="]),
            (" a '' ", &["a", ""]),
        ];
        for (text, want) in cases {
            assert_eq!(split_command(text).expect(text), want, "{text}");
        }
        for text in ["", "  ", "a 'b"] {
            assert!(split_command(text).expect_err(text).to_string().contains("{tcp}"), "{text}");
        }
    }
}
