//! A musterd process on ports of its own, ended when it is dropped.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use musterd::clock::Clock;

use super::{DEADLINE, eventually};

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    /// Where nsqds connect.
    pub(crate) tcp: SocketAddr,
    /// Where consumers ask.
    pub(crate) http: SocketAddr,
    lines: Receiver<String>,
    /// Taken for each line that is read.
    reading: Arc<Mutex<()>>,
    /// What it logged before the last line that was waited for, and nobody has asked for.
    skipped: RefCell<Vec<String>>,
}

/// The flag that makes every daemon of the tests run its TCP workers on the host that
/// `MUSTERD_TEST_TCP_RUNTIME` names; none: the daemon's own choice. It comes first, so that a test's
/// own flag overrides it.
fn runtime_flag() -> Option<String> {
    let runtime = std::env::var("MUSTERD_TEST_TCP_RUNTIME").ok()?;
    Some(format!("--tcp-runtime={runtime}"))
}

/// The daemon's binary with its standard streams closed or piped.
pub(crate) fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_musterd"));
    command
        .args(runtime_flag())
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs the daemon to its end: exit code, none if it came to no end, stdout, stderr.
pub(crate) fn run(flags: &[&str]) -> (Option<i32>, String, String) {
    let mut child = command(flags).spawn().expect("the daemon's binary runs");
    // What it says fits into the pipes. One that goes on is ended, or the test would wait for good.
    let clock = Clock::system();
    let deadline = clock.now() + DEADLINE;
    while child.try_wait().expect("it is our child").is_none() && clock.now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let piped = "both are piped";
    child.stdout.take().expect(piped).read_to_string(&mut stdout).expect("text");
    child.stderr.take().expect(piped).read_to_string(&mut stderr).expect("text");
    (child.wait().expect("it is our child").code(), stdout, stderr)
}

/// The flags for free ports of 127.0.0.1.
pub(crate) const ANYWHERE: [&str; 2] = ["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];

/// [`command`], run by the program `by` with the arguments `with`.
pub(crate) fn command_by(by: &str, with: &[&str], flags: &[&str]) -> Command {
    let mut command = Command::new(by);
    command.args(with).arg(env!("CARGO_BIN_EXE_musterd")).args(runtime_flag()).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Daemon {
    /// Starts a daemon on free ports of 127.0.0.1 and waits until it listens.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::spawn(command(&[&ANYWHERE, flags].concat()))
    }

    /// Starts a daemon by `command`, whose standard streams are as those of [`command`], and waits
    /// until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self::attach(command.spawn().expect("the daemon's binary runs"))
    }

    /// Waits until a daemon that was spawned as by [`Daemon::spawn`] listens.
    pub(crate) fn attach(mut child: Child) -> Self {
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (send, lines) = channel();
        let reading = Arc::new(Mutex::new(()));
        let may_read = Arc::clone(&reading);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                drop(may_read.lock());
                // Nobody may be listening any more; the pipe is drained all the same.
                let _ = send.send(line);
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut daemon = Self {
            child,
            tcp: unknown,
            http: unknown,
            lines,
            reading,
            skipped: RefCell::default(),
        };
        daemon.tcp = daemon.listening("TCP: listening on ");
        daemon.http = daemon.listening("HTTP: listening on ");
        daemon
    }

    fn listening(&self, mark: &str) -> SocketAddr {
        let line = self.line_with(mark);
        let (_, address) = line.split_once(mark).expect("line_with found it");
        address.parse().expect("an address is logged")
    }

    /// Nobody reads the daemon's stderr as long as the guard is there.
    pub(crate) fn leave_stderr_unread(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().expect("nobody panics there")
    }

    /// The log lines that [`Daemon::line_with`] has skipped, those of the start included.
    pub(crate) fn earlier_lines(&self) -> Vec<String> {
        self.skipped.borrow().clone()
    }

    /// A line of the log that has come so far and contains `mark`; those before it are gone.
    pub(crate) fn line_so_far_with(&self, mark: &str) -> Option<String> {
        self.lines.try_iter().find(|line| line.contains(mark))
    }

    /// The next log line that contains `mark`, skipping others.
    pub(crate) fn line_with(&self, mark: &str) -> String {
        let clock = Clock::system();
        let deadline = clock.now() + DEADLINE;
        let mut skipped = self.skipped.borrow_mut();
        loop {
            match self.lines.recv_timeout(deadline.since(clock.now())) {
                Ok(line) if line.contains(mark) => return line,
                Ok(line) => skipped.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {mark:?} in {skipped:#?}")
                }
            }
        }
    }

    /// Ends the process in order; the log lines that nobody has asked for.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
        self.lines.iter().collect()
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a pid"), signal).expect("it is our child");
    }

    /// Waits until the process has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the daemon ends", || self.child.try_wait().expect("it is our child"))
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux has it");
        line.split_whitespace().nth(1).expect("a number").parse().expect("in KiB")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The TCP ports of 127.0.0.1 on which the process `pid` listens.
pub(crate) fn listening_ports(pid: u32) -> Vec<u16> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let sockets: Vec<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let port = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let listens = words.get(3) == Some(&"0A");
        let socket = format!("socket:[{}]", words.get(9)?);
        let (_, port) = words[1].split_once(':')?;
        (listens && sockets.contains(&socket)).then(|| u16::from_str_radix(port, 16).ok())?
    };
    table.lines().skip(1).filter_map(port).collect()
}
