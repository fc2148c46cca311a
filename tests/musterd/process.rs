//! The daemon as a process: what it prints, and how it ends when it cannot start.

use std::net::TcpListener;

use crate::support::{Daemon, HttpClient, command, run};

#[test]
fn version_prints_both_versions() {
    let (code, stdout, stderr) = run(&["-version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains(env!("CARGO_PKG_VERSION")) && stdout.contains("1.3.0"), "{stdout}");
}

#[test]
fn wrong_command_line_exits_with_2_as_in_go() {
    let (code, _, stderr) = run(&["-nope"]);
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("flag provided but not defined: -nope\n"), "{stderr}");
}

#[test]
fn failed_start_is_one_fatal_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    let free = "127.0.0.1:0";
    let cases = [
        (["-tcp-address", &taken, "-http-address", free], taken.as_str()),
        (["-tcp-address", free, "-http-address", &taken], taken.as_str()),
        (["-tcp-address", "192.0.2.1:4160", "-http-address", free], "192.0.2.1:4160"),
        (["-tcp-address", "nowhere", "-http-address", free], "nowhere"),
        (["-config", "/nonexistent.toml", "-http-address", free], "/nonexistent.toml"),
    ];
    for (flags, named) in cases {
        let (code, stdout, stderr) = run(&flags);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{flags:?}: {stderr}");
        let fatal: Vec<_> = stderr.lines().filter(|line| line.contains("FATAL: ")).collect();
        assert!(matches!(fatal[..], [line] if line.contains(named)), "{flags:?}: {stderr}");
        assert!(!stderr.contains("listening on"), "nothing is half-started: {stderr}");
    }
}

/// A configuration file; gone with the value.
struct ConfigFile(std::path::PathBuf);

impl ConfigFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("musterd-process-{}-{name}.cfg", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the temporary folder takes a file");
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--config={}", self.0.display())
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_misspelt_access_rule_is_one_fatal_line_that_names_the_place_and_the_key() {
    let addresses = "tcp_address = \"127.0.0.1:0\"\nhttp_address = \"127.0.0.1:0\"\n";
    for (name, rest, line, wrong, key) in [
        ("dashes", "tcp-allow = [\"10.9.9.9\"]", 3, "tcp-allow", "tcp_allow"),
        ("letters", "http_write_alow = [\"10.9.9.9\"]", 3, "http_write_alow", "http_write_allow"),
        ("end", "tcp_allowed = [\"10.9.9.9\"]", 3, "tcp_allowed", "tcp_allow"),
        (
            "together",
            "http_write_tokenfile = \"/nonexistent\"",
            3,
            "http_write_tokenfile",
            "http_write_token_file",
        ),
        (
            "table",
            "[access]\nhttp_write_allow = [\"10.9.9.9\"]",
            4,
            "access.http_write_allow",
            "http_write_allow",
        ),
        ("case", "HTTP_WRITE_ALLOW = [\"10.9.9.9\"]", 3, "HTTP_WRITE_ALLOW", "http_write_allow"),
    ] {
        let file = ConfigFile::new(name, &format!("{addresses}{rest}\n"));
        let (code, _, stderr) = run(&[&file.flag()]);
        let path = file.0.display();
        let want = format!(
            "FATAL: failed to load config file {path} - toml: line {line}: unknown key \"{wrong}\"; the \
             nearest key is {key}"
        );
        assert!(code == Some(1) && stderr.lines().count() == 1, "{name}: {stderr}");
        assert!(stderr.contains(&want), "{want}: {stderr}");
    }
}

#[test]
fn unknown_keys_and_words_are_warned_of_and_refused_when_asked() {
    let text = "max_registration = 5\n[nsqd]\nlog_level = \"debug\"\nmem_queue_size = 1\n";
    let file = ConfigFile::new("unknown", text);
    let daemon = Daemon::start(&[&file.flag(), "word"]);
    let lines = daemon.earlier_lines();
    let path = file.0.display();
    assert!(lines[0].contains("INFO: ") && lines[0].contains("1.3.0"), "{lines:#?}");
    for want in [
        "WARNING: \"word\" on the command line is no flag; it is ignored".to_owned(),
        format!(
            "WARNING: config file {path}: line 1: unknown key \"max_registration\"; the nearest key \
             is max_registrations; it is ignored"
        ),
        format!(
            "WARNING: config file {path}: line 3: unknown key \"nsqd.log_level\"; the nearest key is \
             log_level, which stands outside of tables; it is ignored"
        ),
        format!("WARNING: config file {path}: line 4: unknown key \"nsqd.mem_queue_size\"; "),
    ] {
        let wanted = lines.iter().filter(|line| line.contains(&want)).count();
        assert_eq!(wanted, 1, "{want}: {lines:#?}");
    }
    let (code, _, stderr) = run(&[&file.flag(), "--config-strict"]);
    let want = "toml: line 1: unknown key \"max_registration\"; the nearest key is";
    assert!(code == Some(1) && stderr.contains("FATAL: ") && stderr.contains(want), "{stderr}");
}

#[test]
fn a_broadcast_address_that_nsqds_cannot_use_is_warned_of() {
    let daemon = Daemon::start(&["--broadcast-address="]);
    daemon.line_with("WARNING: --broadcast-address is empty: nsqds will not find");
    let daemon = Daemon::start(&["--broadcast-address=[::1]:4161"]);
    daemon.line_with("WARNING: --broadcast-address \"[::1]:4161\" cannot be resolved here (");
}

#[test]
fn closed_stderr_does_not_end_the_daemon() {
    let mut child = command(&["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"]);
    let mut child = child.spawn().expect("the daemon's binary runs");
    // journald has gone: whoever reads the log closes it.
    drop(child.stderr.take());
    let pid = child.id();
    let ports = || crate::support::listening_ports(pid);
    let ports = crate::support::eventually("it listens", || Some(ports()).filter(|p| p.len() == 2));
    let pong = ports.iter().any(|&port| {
        let mut http = HttpClient::connect(([127, 0, 0, 1], port).into());
        http.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
        http.stream().shutdown(std::net::Shutdown::Write).expect("open");
        http.rest().ends_with(b"OK")
    });
    assert!(pong, "one of {ports:?} is the HTTP port");
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
}

#[test]
fn log_lines_are_those_of_nsqlookupd() {
    let daemon = Daemon::start(&["-log-prefix=[x] "]);
    let mut nsqd = crate::support::Nsqd::identified(daemon.tcp, "a");
    nsqd.command("REGISTER t c");
    let client = nsqd.address;
    let identify = "IDENTIFY Address:nsqd-a.example TCP:4150 HTTP:4151 Version:1.3.0";
    let lines = [
        format!("INFO: TCP: new client({client})"),
        format!("INFO: CLIENT({client}): desired protocol magic '  V1'"),
        format!("INFO: CLIENT({client}): {identify}"),
        format!("INFO: DB: client({client}) REGISTER category:client key: subkey:"),
        format!("INFO: DB: client({client}) REGISTER category:channel key:t subkey:c"),
        format!("INFO: DB: client({client}) REGISTER category:topic key:t subkey:"),
    ];
    for line in lines {
        assert!(daemon.line_with(&line).starts_with("[x] "));
    }
    nsqd.send(b"\x1b[2J\n");
    nsqd.rest();
    let refused = daemon.line_with("E_INVALID");
    assert!(refused.contains("ERROR: [") && !refused.contains('\x1b'), "{refused}");
}

#[test]
fn http_writes_are_logged_and_successful_reads_are_not() {
    let daemon = Daemon::start(&[]);
    let mut http = HttpClient::connect(daemon.http);
    assert!(http.request("GET", "/lookup?topic=t").status.contains(" 404 "));
    assert!(http.request("POST", "/topic/create?topic=t").status.contains(" 200 "));
    assert!(http.request("GET", "/lookup?topic=t").status.contains(" 200 "));
    assert!(http.request("POST", "/topic/delete?topic=t").status.contains(" 200 "));
    let log = daemon.stop();
    for words in [
        "INFO: 404 GET /lookup?topic=t (127.0.0.1:",
        "INFO: 200 POST /topic/create?topic=t (127.0.0.1:",
        "INFO: 200 POST /topic/delete?topic=t (127.0.0.1:",
    ] {
        let line = log.iter().find(|line| line.contains(words)).expect(words);
        // How long it took ends the line.
        let (_, duration) = line.rsplit_once(") ").expect("behind the address");
        let (number, unit) = duration.split_at(duration.find(char::is_alphabetic).expect("a unit"));
        assert!(number.parse::<f64>().is_ok() && ["µs", "ms", "s"].contains(&unit), "{line}");
    }
    assert!(!log.iter().any(|line| line.contains("200 GET")), "{log:?}");
}

#[test]
fn metrics_show_what_was_counted() {
    let daemon = Daemon::start(&[]);
    let mut nsqd = crate::support::Nsqd::identified(daemon.tcp, "a");
    nsqd.command("REGISTER t c");
    nsqd.command("PING");
    let mut bad = crate::support::Nsqd::connect(daemon.tcp);
    bad.send(b"  V1FOO\n");
    bad.rest();
    let mut http = HttpClient::connect(daemon.http);
    http.request("GET", "/nope");
    let page = http.get("/metrics");
    let lines = [
        "musterd_commands_total{command=\"IDENTIFY\"} 1",
        "musterd_commands_total{command=\"REGISTER\"} 1",
        "musterd_commands_total{command=\"PING\"} 1",
        "musterd_commands_rejected_total{code=\"E_INVALID\"} 1",
        "musterd_http_request_duration_seconds_count{route=\"other\",method=\"GET\",code=\"404\"} 1",
        "musterd_topics 1",
        "musterd_channels 1",
        "musterd_registrations 2",
        "musterd_connections_accepted_total{port=\"tcp\"} 2",
        "musterd_connections{port=\"http\"} 1",
        "musterd_log_lines_dropped_total 0",
    ];
    for line in lines {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    assert!(page.contains("\nmusterd_snapshots_retired "), "{page}");
}
