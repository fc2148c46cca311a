//! The daemon is killed and started again at once, under many nsqds.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::support::{Daemon, HttpClient, Nsqd};

/// Connections that play the nsqds, and the threads that move them.
const NSQDS: usize = 1_000;
const THREADS: usize = 20;
/// Topics that they share.
const TOPICS: usize = 10;

/// No other test uses it, and could take a port of it before the daemon is back.
const OWN_ADDRESS: [&str; 2] = ["--tcp-address=127.0.0.9:0", "--http-address=127.0.0.9:0"];

/// Connects, identifies and registers the nsqd of that number.
fn join(tcp: SocketAddr, number: usize) -> Nsqd {
    let mut nsqd = Nsqd::identified(tcp, &number.to_string());
    nsqd.command(&format!("REGISTER topic-{} c", number % TOPICS));
    nsqd
}

/// The numbers of the nsqds that a lookup of the topic shows, in order, as often as it shows them.
fn shown(http: &mut HttpClient, topic: usize) -> Vec<usize> {
    let body = http.get(&format!("/lookup?topic=topic-{topic}"));
    let names = body.split("\"hostname\":\"host-").skip(1);
    let numbers = names.map(|rest| rest.split('"').next().and_then(|name| name.parse().ok()));
    let mut numbers: Vec<_> = numbers.collect::<Option<_>>().expect("numbers are names here");
    numbers.sort_unstable();
    numbers
}

fn all_of(topic: usize) -> Vec<usize> {
    (0..NSQDS).filter(|number| number % TOPICS == topic).collect()
}

/// nsqds notice at their next PING and come back; here all of them at once, which is worse. The
/// ports are full of the dead daemon's connections, and nobody's registration may be lost.
#[test]
fn thousand_nsqds_register_again_after_kill_and_restart() {
    // A login's usual 1,024 descriptors would not do for this process.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the hard limit is allowed");
    let mut daemon = Daemon::start(&OWN_ADDRESS);
    let (tcp, http) = (daemon.tcp, daemon.http);
    let mut nsqds: Vec<_> = (0..NSQDS).map(|number| join(tcp, number)).collect();
    assert_eq!(shown(&mut HttpClient::connect(http), 0), all_of(0));

    daemon.signal(Signal::KILL);
    daemon.wait();
    let ports = [format!("--tcp-address={tcp}"), format!("--http-address={http}")];
    let again = Daemon::start(&ports.each_ref().map(String::as_str));
    assert_eq!((again.tcp, again.http), (tcp, http), "the same ports, at once");

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Meanwhile a lookup shows some of the topic's producers, each once, and no other.
        let reader = scope.spawn(|| {
            let mut asked = 0;
            let mut reader = HttpClient::connect(http);
            while !over.load(Ordering::Relaxed) {
                for topic in 0..TOPICS {
                    let answer = reader.request("GET", &format!("/lookup?topic=topic-{topic}"));
                    if answer.status != "HTTP/1.1 200 OK" {
                        assert!(answer.body.contains("TOPIC_NOT_FOUND"), "{}", answer.body);
                        continue;
                    }
                    let shown = shown(&mut reader, topic);
                    let own = shown.iter().all(|number| number % TOPICS == topic);
                    let once = shown.is_sorted_by(|a, b| a < b);
                    assert!(own && once, "topic {topic} shows {shown:?}");
                    asked += 1;
                }
            }
            asked
        });
        let returned: Vec<_> = nsqds
            .chunks_mut(NSQDS / THREADS)
            .enumerate()
            .map(|(chunk, nsqds)| {
                scope.spawn(move || {
                    let mut http = HttpClient::connect(http);
                    for (place, nsqd) in nsqds.iter_mut().enumerate() {
                        assert!(nsqd.rest().is_empty(), "its link ended with the daemon");
                        let number = chunk * (NSQDS / THREADS) + place;
                        *nsqd = join(tcp, number);
                        let shown = shown(&mut http, number % TOPICS);
                        assert!(shown.contains(&number), "{number} is answered and not shown");
                    }
                })
            })
            .collect();
        let returned: Vec<_> = returned.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(returned.iter().all(Result::is_ok), "an nsqd did not come back");
        assert!(reader.join().expect("the reader saw only what is true") > 0);
    });
    let mut http = HttpClient::connect(http);
    for topic in 0..TOPICS {
        assert_eq!(shown(&mut http, topic), all_of(topic), "topic {topic}");
    }
    let page = http.get("/metrics");
    assert!(page.contains(&format!("\nmusterd_registrations {}\n", 2 * NSQDS)), "{page}");
}
