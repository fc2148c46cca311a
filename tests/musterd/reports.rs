//! What users of nsqlookupd reported, held as tests where no other test had it. tests/README.md lists
//! the reports with their numbers.

use serde_json::Value;
use testkit::{nsqd, wire};

use crate::support::{Daemon, HttpClient, Nsqd, eventually};

/// The answer to a GET, and its status code.
fn get(daemon: &Daemon, target: &str) -> (String, Value) {
    let response = HttpClient::connect(daemon.http).request("GET", target);
    let code = response.status.split(' ').nth(1).expect("a code").to_owned();
    (code, serde_json::from_str(&response.body).expect("JSON"))
}

/// How many producers a lookup of `topic` shows; none where it is unknown.
fn producers(daemon: &Daemon, topic: &str) -> usize {
    get(daemon, &format!("/lookup?topic={topic}")).1["producers"].as_array().map_or(0, Vec::len)
}

#[test]
fn ephemeral_names_go_with_an_nsqd_that_breaks_off() {
    let daemon = Daemon::start(&[]);
    let mut leaving = Nsqd::identified(daemon.tcp, "a");
    leaving.command("REGISTER gone#ephemeral c");
    leaving.command("REGISTER stays c#ephemeral");
    drop(leaving);
    eventually("only the usual topic is left, without channels", || {
        let topics = get(&daemon, "/topics").1["topics"].to_string();
        let channels = get(&daemon, "/channels?topic=stays").1["channels"].to_string();
        (topics == "[\"stays\"]" && channels == "[]").then_some(())
    });
}

#[test]
fn a_deleted_topic_comes_back_with_the_next_register_of_its_nsqd() {
    let daemon = Daemon::start(&[]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    nsqd.command("REGISTER t c");
    let deleted = HttpClient::connect(daemon.http).request("POST", "/topic/delete?topic=t");
    assert_eq!(deleted.status, "HTTP/1.1 200 OK");
    nsqd.command("PING");
    assert_eq!(get(&daemon, "/lookup?topic=t").0, "404", "a PING registers nothing");
    nsqd.command("REGISTER t c");
    assert_eq!(producers(&daemon, "t"), 1);
}

#[test]
fn an_nsqd_that_reconnects_again_and_again_is_listed_once() {
    let daemon = Daemon::start(&[]);
    let mut nsqd = Nsqd::identified(daemon.tcp, "a");
    for _ in 0..30 {
        nsqd.command("REGISTER t c");
        // The earlier connection ends while the next one is made.
        nsqd = Nsqd::identified(daemon.tcp, "a");
    }
    nsqd.command("REGISTER t c");
    eventually("one producer", || (producers(&daemon, "t") == 1).then_some(()));
    let nodes = get(&daemon, "/nodes").1;
    assert_eq!(nodes["producers"].as_array().map(Vec::len), Some(1), "{nodes}");
}

#[test]
fn zone_and_region_of_an_nsqd_are_in_lookup_and_nodes() {
    let daemon = Daemon::start(&[]);
    let mut nsqd = Nsqd::connect(daemon.tcp);
    let mut bytes = wire::MAGIC.to_vec();
    let topology = "{\"topology_zone\":\"z\",\"topology_region\":\"r\",";
    wire::identify(&nsqd::peer_info("a").replacen('{', topology, 1), &mut bytes);
    nsqd.send(&bytes);
    assert!(nsqd.reply().contains("broadcast_address"));
    nsqd.command("REGISTER t c");
    for target in ["/lookup?topic=t", "/nodes"] {
        let producer = &get(&daemon, target).1["producers"][0];
        assert_eq!(
            (&producer["topology_zone"], &producer["topology_region"]),
            (&"z".into(), &"r".into())
        );
    }
}
