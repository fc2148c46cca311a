//! `/metrics`: every family that docs/metrics.md lists, in both formats, and what moves the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use musterd::{limits, memory};
use testkit::{HttpClient, Nsqd, Response};

use crate::support::Daemon;

const DOCUMENT: &str = "docs/metrics.md";
/// The end of the head of the table.
const HEAD: &str = "\n|---|---|---|---|\n";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3";

/// A daemon that has met every verb, an error of each kind, and all routes; the nsqd stays connected.
fn busy() -> (Daemon, Nsqd, HttpClient) {
    let daemon = Daemon::start(&[]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    for command in ["REGISTER t c", "REGISTER t d", "REGISTER u", "UNREGISTER u", "PING", "PING"] {
        nsqd.command(command);
    }
    for refused in ["  V1FOO\n", "  V2  ", "  V1IDENTIFY\n\0\0\0\x01x"] {
        let mut bad = Nsqd::connect(daemon.tcp);
        bad.send(refused.as_bytes());
        bad.rest();
    }
    let mut http = HttpClient::connect(daemon.http);
    for target in ["/ping", "/lookup?topic=t", "/lookup?topic=none", "/lookup", "/nope", "/nodes"] {
        http.request("GET", target);
    }
    http.request("POST", "/topic/create?topic=v");
    http.request("PUT", "/topics");
    let mut malformed = HttpClient::connect(daemon.http);
    malformed.send(b"x\r\n\r\n");
    malformed.rest();
    (daemon, nsqd, http)
}

fn scrape(http: &mut HttpClient, accept: &str) -> Response {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
    http.send(request.as_bytes());
    http.response(false)
}

/// One family of a page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    help: String,
    kind: String,
    /// The values of each label.
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The families of a page, each of which must be described before its series, and once.
fn families(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        if let Some(described) = line.strip_prefix("# HELP ") {
            let (name, help) = described.split_once(' ').expect("a help text");
            let family = Family { help: help.to_owned(), ..Family::default() };
            assert!(families.insert(name.to_owned(), family).is_none(), "{name} stands twice");
            current = name.to_owned();
            continue;
        }
        let family = families.get_mut(&current).expect("a family begins with its help");
        if let Some(kind) = line.strip_prefix(&format!("# TYPE {current} ")) {
            kind.clone_into(&mut family.kind);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok_and(|value| value >= 0.0), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.starts_with(&current), "{line} stands under {current}");
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').expect("a label has a value");
            let values = family.labels.entry(label.to_owned()).or_default();
            values.insert(value.trim_matches('"').to_owned());
        }
    }
    families
}

/// The rows of the table in the document.
fn rows(families: &BTreeMap<String, Family>) -> Vec<String> {
    let row = |(name, family): (&String, &Family)| {
        // These have values that the daemon's version, its host or its clients choose.
        let is_open = ["_info", "_seconds", "_runtime"].into_iter().any(|end| name.ends_with(end));
        let label = |(label, values): (&String, &BTreeSet<String>)| {
            let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
            if is_open { format!("`{label}`") } else { format!("`{label}`: {}", values.join(", ")) }
        };
        let labels = family.labels.iter().filter(|(label, _)| *label != "le").map(label);
        let labels = labels.collect::<Vec<_>>().join("; ");
        format!("| `{name}` | {} | {labels} | {} |", family.kind, family.help)
    };
    families.iter().map(row).collect()
}

/// With `UPDATE_DOCS=1` the table is written instead.
#[test]
fn every_family_is_documented() {
    let (_daemon, _nsqd, mut http) = busy();
    let rows = rows(&families(&http.get("/metrics")));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = std::fs::read_to_string(&path).expect(DOCUMENT);
    let is_row = |line: &&str| line.starts_with("| `");
    let start = text.find(HEAD).expect("the table's head") + HEAD.len();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let rest: String =
            text[start..].lines().skip_while(is_row).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, format!("{}{}\n{rest}", &text[..start], rows.join("\n")))
            .expect("it is written");
        return;
    }
    let written: Vec<_> = text.lines().filter(is_row).collect();
    assert_eq!(written, rows, "UPDATE_DOCS=1 cargo test --test musterd every_family_is_documented");
}

/// What dashboards of other programs find here too.
#[test]
fn the_families_that_everyone_has_are_there() {
    let (_daemon, _nsqd, mut http) = busy();
    let families = families(&http.get("/metrics"));
    for (name, kind) in [
        ("musterd_build_info", "gauge"),
        ("musterd_http_request_duration_seconds", "histogram"),
        ("musterd_nsqds", "gauge"),
        ("process_cpu_seconds_total", "counter"),
        ("process_max_fds", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        assert_eq!(families.get(name).map(|family| &*family.kind), Some(kind), "{name}");
    }
    for (name, family) in &families {
        assert!(family.help.ends_with('.') && !family.kind.is_empty(), "{name}: {family:?}");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
    }
}

#[test]
fn the_format_is_the_one_that_the_client_prefers() {
    let (_daemon, _nsqd, mut http) = busy();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, want) in [("*/*", text), (OPENMETRICS, openmetrics)] {
        let response = scrape(&mut http, accept);
        assert_eq!(response.header("Content-Type"), Some(want), "{accept}");
        assert_eq!(response.body.ends_with("\n# EOF\n"), want == openmetrics, "{accept}");
    }
    // Both show the same families: OpenMetrics leaves out of a name what the type says.
    let name = |name: String| name.trim_end_matches("_total").trim_end_matches("_info").to_owned();
    let mut names = |accept| -> BTreeSet<String> {
        families(&scrape(&mut http, accept).body).into_keys().map(name).collect()
    };
    assert_eq!(names("*/*"), names(OPENMETRICS));
}

/// The numbers of a page, by series; those of the process and of spans of time left out.
fn numbers(page: &str) -> BTreeMap<String, f64> {
    let is_exact = |line: &&str| {
        !(line.starts_with('#')
            || line.starts_with("process_")
            || line.starts_with("musterd_snapshots_retired")
            || line.contains("_bytes_total{")
            || line.contains("_seconds_sum{")
            || line.contains("_seconds_bucket{"))
    };
    let number = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        (series.to_owned(), value.parse().expect("a number"))
    };
    page.lines().filter(is_exact).map(number).collect()
}

/// The numbers once the nsqd and this client are the only connections, and how many scrapes it took.
fn settled(http: &mut HttpClient) -> (f64, BTreeMap<String, f64>) {
    let mut scrapes = 0.0;
    loop {
        let numbers = numbers(&http.get("/metrics"));
        scrapes += 1.0;
        let open = |port| numbers[&format!("musterd_connections{{port=\"{port}\"}}")];
        if (open("tcp"), open("http")) == (1.0, 1.0) {
            return (scrapes, numbers);
        }
    }
}

#[test]
fn counters_move_by_exactly_what_was_done() {
    let (daemon, mut nsqd, mut http) = busy();
    let (_, before) = settled(&mut http);
    nsqd.command("PING");
    nsqd.command("REGISTER w e");
    nsqd.command("UNREGISTER t c");
    let mut bad = Nsqd::identified(daemon.tcp, "b");
    bad.send(b"REGISTER bad/name\n");
    bad.rest();
    http.request("GET", "/lookup?topic=w");
    http.request("GET", "/lookup?topic=none");
    http.request("POST", "/topic/create?topic=x");
    let mut malformed = HttpClient::connect(daemon.http);
    malformed.send(b"x\r\n\r\n");
    malformed.rest();
    let (scrapes, after) = settled(&mut http);
    let moved: BTreeMap<&str, f64> = after
        .iter()
        .map(|(series, now)| (&**series, now - before.get(series).unwrap_or(&0.0)))
        // How many iterations there were depends on how busy the machine is.
        .filter(|(series, by)| *by != 0.0 && !series.contains("_loop_iteration_"))
        .collect();
    let spans = |labels: &str| format!("musterd_http_request_duration_seconds_count{{{labels}}}");
    let registry_bytes = 2 * memory::TOPIC + memory::CHANNEL + memory::REGISTRATION;
    let registry_bytes = f64::from(u32::try_from(registry_bytes).expect("it fits"));
    let want = [
        ("musterd_commands_total{command=\"IDENTIFY\"}".to_owned(), 1.0),
        ("musterd_commands_total{command=\"PING\"}".to_owned(), 1.0),
        ("musterd_commands_total{command=\"REGISTER\"}".to_owned(), 1.0),
        ("musterd_commands_total{command=\"UNREGISTER\"}".to_owned(), 1.0),
        ("musterd_commands_rejected_total{code=\"E_BAD_TOPIC\"}".to_owned(), 1.0),
        ("musterd_connections_accepted_total{port=\"tcp\"}".to_owned(), 1.0),
        ("musterd_connections_accepted_total{port=\"http\"}".to_owned(), 1.0),
        ("musterd_connections_closed_total{port=\"tcp\",reason=\"finished\"}".to_owned(), 1.0),
        ("musterd_connections_closed_total{port=\"http\",reason=\"finished\"}".to_owned(), 1.0),
        ("musterd_topics".to_owned(), 2.0),
        ("musterd_channels".to_owned(), 1.0),
        ("musterd_registrations".to_owned(), 1.0),
        ("musterd_http_names".to_owned(), 1.0),
        ("musterd_memory_used_bytes{use=\"registry\"}".to_owned(), registry_bytes),
        (
            "musterd_registry_fill_ratio".to_owned(),
            3.0 / f64::from(u32::try_from(limits::REGISTRATIONS).expect("it fits")),
        ),
        (spans("route=\"/lookup\",method=\"GET\",code=\"200\""), 1.0),
        (spans("route=\"/lookup\",method=\"GET\",code=\"404\""), 1.0),
        (spans("route=\"/topic/create\",method=\"POST\",code=\"200\""), 1.0),
        (spans("route=\"other\",method=\"other\",code=\"400\""), 1.0),
        (spans("route=\"/metrics\",method=\"GET\",code=\"200\""), scrapes),
    ];
    let want: BTreeMap<&str, f64> = want.iter().map(|(series, by)| (&**series, *by)).collect();
    assert_eq!(moved, want);
}

/// Pipes `text` into a program, which must find nothing to say about it.
fn check(program: &str, arguments: &[&str], text: &str) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{program}: {said}\n{text}");
}

/// Run by `tests/slow metrics`, which installs the parser. promtool reads 0.0.4 only.
#[test]
#[ignore = "needs promtool and Python's prometheus-client"]
fn promtool_and_a_strict_parser_find_no_fault() {
    let (_daemon, _nsqd, mut http) = busy();
    check("promtool", &["check", "metrics"], &scrape(&mut http, "*/*").body);
    let python = std::env::var("METRICS_PYTHON").expect("METRICS_PYTHON names a Python");
    let program = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        assert len(list(parse(sys.stdin.read()))) > 20\n";
    check(&python, &["-c", program], &scrape(&mut http, OPENMETRICS).body);
}
