//! How the daemon stops: at once, in order, with exit code 0, whatever its peers do.

use std::io::ErrorKind;
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{Daemon, HttpClient, Nsqd, eventually};

/// One worker for each port: what a connection sent has been read once another connection, made
/// later, is served.
const ONE_WORKER: [&str; 2] = ["--shards=1", "--http-workers=1"];

/// Peers that say nothing, half of something, or read nothing.
fn difficult_peers(daemon: &Daemon) -> (Vec<Nsqd>, Vec<HttpClient>) {
    let mut nsqds: Vec<_> = (0..4).map(|_| Nsqd::connect(daemon.tcp)).collect();
    nsqds[1].send(b"  V");
    nsqds[2].send(b"  V1IDENTIFY\n\0\0\0\x50{");
    nsqds[3].finish();
    nsqds.push(Nsqd::identified(daemon.tcp, "idle"));
    let mut clients: Vec<_> = (0..3).map(|_| HttpClient::connect(daemon.http)).collect();
    clients[1].send(b"GET /ping HTTP/1.1\r\nHos");
    clients[2]
        .send(b"POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12");
    clients.push(HttpClient::connect(daemon.http));
    clients[3].get("/ping");
    (nsqds, clients)
}

fn check(signal: Signal, flags: &[&str]) {
    let mut daemon = Daemon::start(flags);
    let (mut nsqds, mut clients) = difficult_peers(&daemon);
    daemon.signal(signal);
    assert_eq!(daemon.wait().code(), Some(0), "{signal:?} {flags:?}");
    nsqds.iter_mut().for_each(|nsqd| drop(nsqd.rest()));
    clients.iter_mut().for_each(|client| drop(client.rest()));
}

#[test]
fn sigterm_and_sigint_exit_with_0_whatever_the_peers_do() {
    for shards in ["--shards=1", "--shards=2"] {
        check(Signal::TERM, &[shards]);
        check(Signal::INT, &[shards]);
    }
}

#[test]
fn sighup_does_not_end_the_daemon() {
    let daemon = Daemon::start(&[]);
    daemon.signal(Signal::HUP);
    daemon.line_with("SIGHUP");
    assert_eq!(HttpClient::connect(daemon.http).get("/ping"), "OK");
}

#[test]
fn second_signal_ends_the_daemon_at_once() {
    let mut daemon = Daemon::start(&ONE_WORKER);
    // Half a request keeps the first signal waiting.
    let mut client = HttpClient::connect(daemon.http);
    client.send(b"GET /ping HTTP/1.1\r\nHos");
    HttpClient::connect(daemon.http).get("/ping");
    daemon.signal(Signal::TERM);
    daemon.line_with("TCP: closing");
    // One that comes at once is taken for the same.
    eventually("a later one counts", || {
        daemon.signal(Signal::TERM);
        daemon.line_so_far_with("a second signal: not waiting")
    });
    daemon.wait();
}

#[test]
fn requests_in_flight_are_finished_at_shutdown() {
    let mut daemon = Daemon::start(&ONE_WORKER);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    let mut client = HttpClient::connect(daemon.http);
    client.send(b"GET /ping HTTP/1.1\r\nHos");
    nsqd.send(b"REGISTER ");
    HttpClient::connect(daemon.http).get("/ping");
    Nsqd::identified(daemon.tcp, "b").command("PING");
    daemon.signal(Signal::TERM);
    daemon.line_with("TCP: closing");
    client.send(b"t: x\r\n\r\n");
    assert_eq!(client.response(false).body, "OK");
    nsqd.send(b"t\n");
    assert_eq!(nsqd.reply(), "OK");
    assert_eq!((client.rest(), nsqd.rest()), (vec![], vec![]));
    assert_eq!(daemon.wait().code(), Some(0));
}

/// A connection that the kernel took for a daemon that accepts no more would hang until its end.
#[test]
fn ports_are_closed_while_requests_in_flight_are_finished() {
    let mut daemon = Daemon::start(&ONE_WORKER);
    let (mut nsqd, mut client) =
        (Nsqd::identified(daemon.tcp, "a"), HttpClient::connect(daemon.http));
    client.send(b"GET /ping HTTP/1.1\r\nHos");
    nsqd.send(b"REGISTER ");
    HttpClient::connect(daemon.http).get("/ping");
    Nsqd::identified(daemon.tcp, "b").command("PING");
    daemon.signal(Signal::TERM);
    for port in [daemon.tcp, daemon.http] {
        let refused = eventually("it is closed", || TcpStream::connect(port).err());
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    nsqd.send(b"t\n");
    assert_eq!(nsqd.reply(), "OK", "it was closed before the end");
    client.send(b"t: x\r\n\r\n");
    let response = client.response(false);
    assert_eq!(response.body, "OK");
    let close = ("Connection".to_owned(), "close".to_owned());
    assert!(response.headers.contains(&close), "no other request may meet the end");
    assert_eq!(daemon.wait().code(), Some(0));
}
