//! A link that is cut between the daemon and an nsqd, without an end or a reset: two network
//! namespaces and a pair of virtual interfaces, taken away again when the test ends.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::support::{Daemon, HttpClient, Nsqd, command_by, eventually, eventually_within};

/// Addresses that exist in no other network (RFC 5737).
const NEAR: &str = "192.0.2.1";
const FAR: &str = "192.0.2.2";

/// Two hosts and the link between them.
struct Link {
    near: String,
    far: String,
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2");
    assert!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Link {
    /// `name` tells tests that run at once apart.
    fn new(name: &str) -> Self {
        let host = |side| format!("musterd-{}-{name}-{side}", std::process::id());
        let link = Self { near: host("near"), far: host("far") };
        let (near, far) = (&link.near, &link.far);
        ip(&format!("netns add {near}"));
        ip(&format!("netns add {far}"));
        ip(&format!("-n {near} link add veth0 type veth peer name veth0 netns {far}"));
        for (host, address) in [(near, NEAR), (far, FAR)] {
            ip(&format!("-n {host} addr add {address}/24 dev veth0"));
            ip(&format!("-n {host} link set veth0 up"));
            ip(&format!("-n {host} link set lo up"));
        }
        link
    }

    /// A daemon on the near host.
    fn daemon(&self, flags: &[&str]) -> Daemon {
        let addresses = [format!("--tcp-address={NEAR}:0"), format!("--http-address={NEAR}:0")];
        let flags = [&addresses.each_ref().map(String::as_str), flags].concat();
        Daemon::spawn(command_by("ip", &["netns", "exec", &self.near], &flags))
    }

    /// What `connect` gives on the far host, or on the near one.
    fn on<T: Send>(host: &str, connect: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{host}")).expect("ip made it");
        let run = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).expect("root may");
            connect()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).expect("it does not panic")
    }

    /// An nsqd on `host` that carries topic `t`.
    fn nsqd(host: &str, daemon: &Daemon, name: &str) -> Nsqd {
        let tcp = daemon.tcp;
        let mut nsqd = Self::on(host, || Nsqd::identified(tcp, name));
        nsqd.command("REGISTER t");
        nsqd
    }

    fn consumer(&self, daemon: &Daemon) -> HttpClient {
        let http = daemon.http;
        Self::on(&self.near, || HttpClient::connect(http))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The interfaces go with them.
        for host in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", host]).status();
        }
    }
}

/// Who of `far` and `near` the lookup names.
fn producers(http: &mut HttpClient) -> (bool, bool) {
    let lookup = http.get("/lookup?topic=t");
    (lookup.contains("nsqd-far.example"), lookup.contains("nsqd-near.example"))
}

const CONNECTIONS: &str = "musterd_connections{port=\"tcp\"}";

#[test]
#[ignore = "needs network namespaces: tests/slow faults"]
fn a_nsqd_behind_a_cut_link_is_left_out_then_closed_while_others_are_served() {
    let link = Link::new("silence");
    let daemon = link.daemon(&["--inactive-producer-timeout=2s"]);
    let mut far = Link::nsqd(&link.far, &daemon, "far");
    let mut near = Link::nsqd(&link.near, &daemon, "near");
    let mut http = link.consumer(&daemon);
    assert_eq!(producers(&mut http), (true, true));
    ip(&format!("-n {} link set veth0 down", link.far));
    let mut near_only = |what| {
        eventually(what, || {
            near.command("PING");
            (producers(&mut http) == (false, true)).then_some(())
        });
        near.command("PING");
    };
    near_only("it is left out");
    eventually("it is closed", || {
        near_only("others are served");
        (link.consumer(&daemon).metric(CONNECTIONS) == 1).then_some(())
    });
    let debug = link.consumer(&daemon).get("/debug");
    assert!(!debug.contains("nsqd-far.example"), "{debug}");
    // The link is mended: the old connection is over, and a new one is as good as ever.
    ip(&format!("-n {} link set veth0 up", link.far));
    let _ = std::io::Write::write_all(&mut far.stream, b"PING\n");
    assert_eq!(far.rest(), b"");
    let _far = Link::nsqd(&link.far, &daemon, "far");
    near.command("PING");
    assert_eq!(producers(&mut http), (true, true));
}

#[test]
#[ignore = "needs network namespaces, and a minute: tests/slow faults"]
fn the_kernel_finds_a_link_that_swallows_everything() {
    let link = Link::new("probes");
    // Five minutes without a PING would be fine.
    let daemon = link.daemon(&[]);
    let _quiet = Link::nsqd(&link.far, &daemon, "far");
    let mut near = Link::nsqd(&link.near, &daemon, "near");
    let mut http = link.consumer(&daemon);
    // Its reply is acknowledged by now: what finds it is the keepalive's probe.
    std::thread::sleep(Duration::from_millis(500));
    let _busy = Link::nsqd(&link.far, &daemon, "far-too");
    assert_eq!((producers(&mut http), http.metric(CONNECTIONS)), ((true, true), 3));
    // The far host is gone, most likely before it has acknowledged the last reply, and nothing on
    // the way says so.
    ip(&format!("-n {} addr flush dev veth0", link.far));
    eventually_within(Duration::from_secs(150), "the kernel gives them up", || {
        near.command("PING");
        std::thread::sleep(Duration::from_millis(100));
        (http.metric(CONNECTIONS) == 1).then_some(())
    });
    assert_eq!(producers(&mut http), (false, true));
    assert_eq!(http.metric("musterd_connections_closed_total{port=\"tcp\",reason=\"error\"}"), 2);
}
