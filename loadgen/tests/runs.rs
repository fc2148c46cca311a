//! Whole runs of the program against a static server that it starts: signals, a closed stdout, and a
//! directory that cannot be written.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A directory of one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("loadgen-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("it was made above");
    }
}

/// A run of `duration` that has answers already, with the port of its target.
fn start(directory: &Path, duration: &str) -> (Child, BufReader<std::process::ChildStdout>, u16) {
    let scenario = directory.join("open.toml");
    let text = format!(
        "about = 'a test'\nduration = '{duration}'\nunchecked = true\nmax_lag = '60s'\nerror_budget = 1.0
[topics]\ncount = 1\n[[arrivals]]\nconnections = 2\nrate = [['0s', 100.0]]\n"
    );
    fs::write(&scenario, text).expect("written");
    let port =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    let (program, address) = (env!("CARGO_BIN_EXE_loadgen"), format!("127.0.0.1:{port}"));
    let mut child = Command::new(program)
        .args(["run".as_ref(), scenario.as_os_str(), "--out".as_ref(), directory.as_os_str()])
        .args(["--tcp", &address, "--http", &address, "--threads", "1"])
        .args(["--server-cmd", &format!("'{program}' static-server --http {address}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(" %") || line.contains("lookup       0/s") {
        line.clear();
        assert!(out.read_line(&mut line).expect("UTF-8") > 0, "it ended before it had answers");
    }
    (child, out, port)
}

/// The run has ended in order: its results are written, its target has ended.
fn check_ended(child: Child, directory: &Path, port: u16) {
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {said}", output.status);
    assert_eq!(said, "");
    let json = fs::read_to_string(directory.join("open.json")).expect("the results");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert!(json["counts"]["answered"].as_u64() > Some(0), "{}", json["counts"]);
    assert_eq!(json["counts"]["lost"], 0, "the target outlives the run");
    assert!(directory.join("open.html").exists() && directory.join("open.hlog").exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the target has ended");
}

fn id(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn interrupted_run_reports_and_then_ends_its_target() {
    let directory = Directory::new("interrupted");
    let (child, _out, port) = start(&directory.0, "10m");
    // A terminal sends it to the whole group, of which the target is not.
    kill_process_group(id(&child), Signal::INT).expect("it runs");
    check_ended(child, &directory.0, port);
}

#[test]
fn terminated_run_reports_and_then_ends_its_target() {
    let directory = Directory::new("terminated");
    let (child, out, port) = start(&directory.0, "10m");
    kill_process(id(&child), Signal::TERM).expect("it runs");
    let rest: String = out.lines().map(|line| line.expect("UTF-8") + "\n").collect();
    assert!(rest.contains("lookup corrected") && rest.contains("open.html"), "{rest}");
    check_ended(child, &directory.0, port);
}

#[test]
fn results_survive_a_closed_stdout() {
    let directory = Directory::new("closed");
    let (child, out, port) = start(&directory.0, "3s");
    drop(out);
    check_ended(child, &directory.0, port);
}

#[test]
fn directory_is_checked_before_the_target_starts() {
    let directory = Directory::new("unwritable");
    let (file, marker) = (directory.0.join("file"), directory.0.join("marker"));
    fs::write(&file, "").expect("written");
    for command in [&["run", "storm"][..], &["soak"], &["hostile"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(command)
            .args(["--server-cmd", &format!("touch '{}'", marker.display())])
            .args(["--out".as_ref(), file.as_os_str()])
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("name another --out") && said.lines().count() == 1, "{said}");
        assert!(!marker.exists(), "{command:?} started the target");
    }
}
