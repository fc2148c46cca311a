//! A cut link between the daemon and an nsqd, without a FIN or a reset: two network namespaces and a
//! pair of virtual interfaces, which are removed when the test ends.

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
    /// `name` must differ between tests that run at the same time.
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

    /// Runs `connect` on a host.
    fn on<T: Send>(host: &str, connect: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{host}")).expect("ip made it");
        let run = || {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).expect("root may");
            connect()
        };
        std::thread::scope(|scope| scope.spawn(run).join()).expect("it does not panic")
    }

    /// An nsqd on `host` that has registered topic `t`.
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
        // This removes the interfaces too.
        for host in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", host]).status();
        }
    }
}

/// Whether the lookup has `far`, and whether it has `near`.
fn producers(http: &mut HttpClient) -> (bool, bool) {
    let lookup = http.get("/lookup?topic=t");
    (lookup.contains("nsqd-far.example"), lookup.contains("nsqd-near.example"))
}

/// Longer than the kernel takes to give a connection up: a minute, and what its timers add.
const KERNEL: Duration = Duration::from_secs(150);
const CONNECTIONS: &str = "musterd_connections{port=\"tcp\"}";

#[test]
#[ignore = "needs network namespaces: tests/slow faults"]
fn an_nsqd_behind_a_cut_link_is_inactive_then_closed_and_others_are_served() {
    let link = Link::new("silence");
    let daemon = link.daemon(&["--inactive-producer-timeout=2s"]);
    let mut far = Link::nsqd(&link.far, &daemon, "far");
    let mut near = Link::nsqd(&link.near, &daemon, "near");
    let mut http = link.consumer(&daemon);
    eventually("both are listed", || {
        [&mut far, &mut near].into_iter().for_each(|nsqd| nsqd.command("PING"));
        (producers(&mut http) == (true, true)).then_some(())
    });
    ip(&format!("-n {} link set veth0 down", link.far));
    let mut near_only = |what| {
        eventually(what, || {
            near.command("PING");
            (producers(&mut http) == (false, true)).then_some(())
        });
        near.command("PING");
    };
    near_only("it is inactive");
    // By the kernel, at the latest.
    eventually_within(KERNEL, "it is closed", || {
        near_only("others are served");
        (link.consumer(&daemon).metric(CONNECTIONS) == 1).then_some(())
    });
    let debug = link.consumer(&daemon).get("/debug");
    assert!(!debug.contains("nsqd-far.example"), "{debug}");
    // The link is up again: the old connection is closed, and a new one works.
    ip(&format!("-n {} link set veth0 up", link.far));
    let _ = std::io::Write::write_all(&mut far.stream, b"PING\n");
    assert_eq!(far.rest(), b"");
    let mut far = Link::nsqd(&link.far, &daemon, "far");
    eventually("both are listed again", || {
        [&mut far, &mut near].into_iter().for_each(|nsqd| nsqd.command("PING"));
        (producers(&mut http) == (true, true)).then_some(())
    });
}

#[test]
#[ignore = "needs network namespaces, and a minute: tests/slow faults"]
fn the_kernel_closes_a_connection_whose_link_drops_everything() {
    let link = Link::new("probes");
    // The inactive timeout is five minutes: it is not what closes the connections.
    let daemon = link.daemon(&[]);
    let _quiet = Link::nsqd(&link.far, &daemon, "far");
    let mut near = Link::nsqd(&link.near, &daemon, "near");
    let mut http = link.consumer(&daemon);
    // Its reply is acknowledged by now: the keepalive probe will find the fault.
    std::thread::sleep(Duration::from_millis(500));
    let _busy = Link::nsqd(&link.far, &daemon, "far-too");
    assert_eq!((producers(&mut http), http.metric(CONNECTIONS)), ((true, true), 3));
    // The far host disappears, most likely before it has acknowledged the last reply, and without a
    // FIN, a reset or an ICMP error.
    ip(&format!("-n {} addr flush dev veth0", link.far));
    eventually_within(KERNEL, "the kernel closes them", || {
        near.command("PING");
        std::thread::sleep(Duration::from_millis(100));
        (http.metric(CONNECTIONS) == 1).then_some(())
    });
    assert_eq!(producers(&mut http), (false, true));
    assert_eq!(http.metric("musterd_connections_closed_total{port=\"tcp\",reason=\"error\"}"), 2);
}

/// Both listeners, where the kernel allows more than any smaller backlog of ours.
#[test]
#[ignore = "needs root: tests/slow faults"]
fn queue_of_new_connections_is_as_long_as_the_kernel_allows() {
    let link = Link::new("queue");
    let run = |words: &str| {
        let words = ["netns", "exec", &link.near, "sh", "-c", words];
        let done = Command::new("ip").args(words).output().expect("iproute2");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("text")
    };
    run("echo 65535 > /proc/sys/net/core/somaxconn");
    let _daemon = link.daemon(&[]);
    let listeners = run("ss -ltnH");
    let queues = listeners.lines().map(|line| line.split_whitespace().nth(2));
    assert!(queues.eq([Some("65535"); 2]), "{listeners}");
}
