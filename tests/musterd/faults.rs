//! Faults from outside: the daemon is stopped and continued, its peers reset.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Daemon, HttpClient, Nsqd, eventually};

/// A busy machine takes the CPU away at any moment: here, hundreds of times, for longer than any
/// preemption timer of the runtimes. Nobody may be left waiting afterwards.
#[test]
fn daemon_serves_after_sigstop_and_sigcont_at_any_moment() {
    let daemon = Daemon::start(&["--shards=2"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (tcp, http, over) = (daemon.tcp, daemon.http, &over);
            scope.spawn(move || {
                let mut nsqd = Nsqd::identified(tcp, &number.to_string());
                let mut http = HttpClient::connect(http);
                // Once more when it is over.
                let mut is_last = false;
                while !is_last {
                    is_last = over.load(Ordering::Relaxed);
                    nsqd.command("PING");
                    http.get("/ping");
                }
            });
        }
        for round in 0..300 {
            daemon.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(8));
            daemon.signal(Signal::CONT);
            std::thread::sleep(Duration::from_micros(round * 7 % 2000));
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    let linger = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    linger.expect("an option");
    drop(stream);
}

#[test]
fn reset_at_any_point_leaves_nothing_behind() {
    let daemon = Daemon::start(&[]);
    let body = r#"{"version":"1","tcp_port":1,"http_port":2,"broadcast_address":"b"}"#;
    let length = u32::try_from(body.len()).expect("small").to_be_bytes();
    let head = [b"  V1IDENTIFY\n", &length[..], body.as_bytes()].concat();
    let commands =
        [&head[..], b"REGISTER t c\nPING\nUNREGISTER t c\nREGISTER u#ephemeral\n"].concat();
    for cut in 0..=commands.len() {
        let mut nsqd = Nsqd::connect(daemon.tcp);
        nsqd.send(&commands[..cut]);
        reset(nsqd.stream);
    }
    let request =
        b"POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345";
    for cut in 0..=request.len() {
        let mut client = HttpClient::connect(daemon.http);
        client.send(&request[..cut]);
        reset(client.into_stream());
    }
    let mut http = HttpClient::connect(daemon.http);
    eventually("all have left", || http.get("/debug").eq("{}").then_some(()));
    eventually("all are closed", || {
        let page = http.get("/metrics");
        let has = |line: &str| page.lines().any(|other| other == line);
        (has("musterd_connections{port=\"tcp\"} 0") && has("musterd_connections{port=\"http\"} 1"))
            .then_some(())
    });
    assert_eq!(http.get("/topics"), r#"{"topics":["t"]}"#);
}

#[test]
fn nsqd_that_pinged_during_sigstop_stays_active() {
    let daemon = Daemon::start(&["--inactive-producer-timeout=500ms"]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    nsqd.command("REGISTER t");
    daemon.signal(Signal::STOP);
    // Longer than the inactive timeout.
    std::thread::sleep(Duration::from_millis(1500));
    nsqd.send(b"PING\n");
    daemon.signal(Signal::CONT);
    assert_eq!(nsqd.reply(), "OK");
    // A busy machine may take longer than the timeout between a PING and the lookup.
    let mut http = HttpClient::connect(daemon.http);
    eventually("it is listed", || {
        nsqd.command("PING");
        http.get("/lookup?topic=t").contains("nsqd-a.example").then_some(())
    });
}

#[test]
fn sigstop_longer_than_the_timeout_ends_no_link() {
    let daemon = Daemon::start(&["--inactive-producer-timeout=500ms", "--shards=2"]);
    let join = |number: usize| {
        let mut nsqd = Nsqd::identified(daemon.tcp, &format!("{number:02}"));
        nsqd.command("REGISTER t");
        nsqd
    };
    let mut nsqds: Vec<_> = (0..40).map(join).collect();
    let mut http = HttpClient::connect(daemon.http);
    daemon.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(1500));
    let (speaking, silent) = nsqds.split_at_mut(20);
    speaking.iter_mut().for_each(|nsqd| nsqd.send(b"PING\n"));
    http.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
    daemon.signal(Signal::CONT);
    assert_eq!(http.response(false).body, "OK");
    speaking.iter_mut().for_each(|nsqd| assert_eq!(nsqd.reply(), "OK"));
    silent.iter_mut().for_each(|nsqd| nsqd.command("PING"));
}
