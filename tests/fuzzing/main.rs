//! Fuzzing within `cargo test`: every file of `fuzz/seeds`, and mutations of them drawn from seeds.
//! `FUZZ_RUNS` sets how many for each target, `FUZZ_FROM` the first seed.
//!
//! Must not: measure coverage; `fuzz/` does, with the same checks.

mod checks;

use std::panic::{AssertUnwindSafe, catch_unwind};

use testkit::Rng;

/// Mutations of each target in an ordinary `cargo test`.
const RUNS: u64 = 3000;

/// The stored inputs of a target: typical ones, and those that found a bug.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("readable")).collect()
}

/// Changes an input at random, mostly with pieces of valid inputs.
fn mutated(seeds: &[Vec<u8>], words: &[&str], rng: &mut Rng) -> Vec<u8> {
    let mut data = seeds[rng.below(seeds.len())].clone();
    for _ in 0..=rng.below(5) {
        let at = rng.below(data.len() + 1);
        let end = (at + rng.below(12)).min(data.len());
        match rng.below(8) {
            0 => drop(data.drain(at..end)),
            1 => data.truncate(at),
            2 => {
                let again = data[at..end].to_vec();
                data.splice(at..at, again);
            }
            3 if at < data.len() => data[at] ^= 1 << rng.below(8),
            4 if at < data.len() => data[at] = rng.number().to_le_bytes()[0],
            5 => {
                let other = &seeds[rng.below(seeds.len())];
                let from = rng.below(other.len() + 1);
                data.splice(at.., other[from..].iter().copied());
            }
            _ if rng.chance(90) => drop(data.splice(at..at, rng.pick(words).bytes())),
            _ => data.insert(at, rng.number().to_le_bytes()[0]),
        }
    }
    data
}

fn check(target: &str, words: &[&str], check: fn(&[u8])) {
    let seeds = seeds(target);
    let run = |what: &str, data: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| check(data))).is_err() {
            panic!("{target}, {what}: {:?}\nas text: {}", data, String::from_utf8_lossy(data));
        }
    };
    for (number, data) in seeds.iter().enumerate() {
        run(&format!("file {number}"), data);
    }
    let number = |variable, default| {
        std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
    };
    let from: u64 = number("FUZZ_FROM", 0);
    for seed in from..from + number("FUZZ_RUNS", RUNS) {
        let rng = &mut Rng::new(seed);
        run(&format!("seed {seed}"), &mutated(&seeds, words, rng));
    }
}

const COMMANDS: [&str; 16] = [
    "  V1",
    "PING\n",
    "IDENTIFY\n",
    "REGISTER ",
    "UNREGISTER ",
    "\n",
    "\r\n",
    " ",
    "#ephemeral",
    "t",
    "\0\0\0\x02{}",
    "\u{ff}",
    "\u{a0}",
    "\u{85}",
    "REGISTER t c\n",
    "UNREGISTER t\n",
];

#[test]
fn decode() {
    check("decode", &COMMANDS, checks::decode);
}

#[test]
fn session() {
    check("session", &COMMANDS, checks::session);
}

#[test]
fn http() {
    let words = [
        "GET ",
        "POST ",
        "HEAD ",
        " HTTP/1.1\r\n",
        " HTTP/1.0\r\n",
        "\r\n",
        "\n",
        "Host: h\r\n",
        "Content-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "0\r\n\r\n",
        "3\r\nabc\r\n",
        "/lookup?topic=t",
        "%zz",
        "%23",
        ";",
        "/topic/create?topic=t",
        "/nodes",
        "http://h/",
        "*",
        ":",
        "\0",
        " x\r\n",
        "//",
        "/PING",
    ];
    check("http", &words, checks::http);
}

#[test]
fn identity() {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u",
        "\\ud834",
        "null",
        "true",
        "1",
        "-0",
        "1e400",
        "1.5",
        "99999999999999999999",
        "\"tcp_port\":",
        "\"HTTP_PORT\":",
        "\"version\":\"\"",
        " ",
        "\"broadcast_address\":",
        "\"remote_address\":5",
        "\u{17f}",
        "\u{212a}",
        "\u{fffd}",
        "\n",
    ];
    check("identity", &words, checks::identity);
}

#[test]
fn duration() {
    let words = [
        "h",
        "m",
        "s",
        "ms",
        "us",
        "\u{b5}s",
        "\u{3bc}s",
        "ns",
        ".",
        "-",
        "+",
        "0",
        "1",
        "9223372036854775807",
        "9223372036854775808",
        "0.000000001",
        "99999999999999999999",
        "d",
        " ",
    ];
    check("duration", &words, checks::duration);
}

#[test]
fn config() {
    let words = [
        "=",
        "\n",
        "\"",
        "'''",
        "[",
        "]",
        "[[a]]",
        "{",
        "}",
        "#",
        "log_level",
        "tombstone_lifetime",
        "inactive_producer_timeout",
        "\"5s\"",
        "5",
        "-1",
        "1979-05-27T07:32:00Z",
        "true",
        "inf",
        "0x",
        ".",
    ];
    check("config", &words, checks::config);
}
