//! The same sessions on every host. The test's side is plain blocking sockets; a host that sleeps
//! through an event shows as a read that times out.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::connections::tests::lines::{Lines, Log};
use crate::handler::CloseReason;

/// What a blocking read waits for at most; only a broken host makes it so long.
const TIMEOUT: Duration = Duration::from_secs(60);
const OPTIONS: Options = Options {
    max_connections: 100_000,
    refusal: b"full\n",
    max_queued_output: usize::MAX,
    keepalive: None,
};

struct Hosted {
    workers: Workers,
    address: SocketAddr,
    clock: Clock,
    counters: Arc<ConnectionCounters>,
    log: Arc<Log>,
}

type Spawn = fn(HostConfig, Arc<Log>) -> io::Result<Workers>;

const HOSTS: [(&str, usize, Spawn); 5] = [
    ("thread", 1, |config, log| thread::spawn(config, lines(log))),
    ("thread", 3, |config, log| thread::spawn(config, lines(log))),
    ("glommio", 1, |config, log| glommio::spawn(config, lines(log))),
    ("glommio", 3, |config, log| glommio::spawn(config, lines(log))),
    ("may", 2, |config, log| {
        may::spawn(HostConfig { accepting: Accepting::Workers, ..config }, lines(log))
    }),
];

fn lines(log: Arc<Log>) -> impl Fn(usize) -> Lines {
    move |worker| Lines::of_worker(worker, Arc::clone(&log))
}

fn config(
    workers: usize,
    listener: TcpListener,
    clock: Clock,
    counters: Arc<ConnectionCounters>,
) -> HostConfig {
    HostConfig {
        name: "worker",
        workers,
        cpus: crate::resources::affinity().unwrap(),
        listener,
        accepting: Accepting::Thread("acceptor"),
        policy: AcceptPolicy::new(Arc::default()),
        options: OPTIONS,
        clock,
        counters,
    }
}

impl Hosted {
    fn start(workers: usize, spawn: Spawn) -> Self {
        let (counters, log) = (Arc::new(ConnectionCounters::default()), Arc::new(Log::default()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, clock) = (listener.local_addr().unwrap(), Clock::system());
        let config = config(workers, listener, clock.clone(), Arc::clone(&counters));
        let workers = spawn(config, Arc::clone(&log)).unwrap();
        Self { workers, address, clock, counters, log }
    }

    fn peer(&self) -> BufReader<TcpStream> {
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_read_timeout(Some(TIMEOUT)).unwrap();
        peer.set_nodelay(true).unwrap();
        BufReader::new(peer)
    }

    /// Stops, joins, and checks that every worker reported its end and nothing is left open.
    fn stop(self, workers: usize) {
        let has_acceptor = self.workers.handles.len() > workers;
        self.workers.stop(self.clock.now() + Duration::from_secs(3));
        let exits = self.workers.exits.clone();
        self.workers.join().unwrap();
        let ended: HashSet<_> = exits
            .try_iter()
            .map(|exit| {
                exit.result.unwrap();
                exit.name
            })
            .collect();
        let mut names: HashSet<_> = (0..workers).map(|worker| format!("worker {worker}")).collect();
        names.extend(has_acceptor.then(|| "acceptor".to_owned()));
        assert_eq!(ended, names);
        assert_eq!((self.counters.open(), self.counters.queued_output()), (0, 0));
    }
}

fn ask(peer: &mut BufReader<TcpStream>, sent: &str) -> String {
    peer.get_mut().write_all(sent.as_bytes()).unwrap();
    let mut line = String::new();
    peer.read_line(&mut line).unwrap();
    line
}

#[expect(clippy::print_stderr, reason = "a case that fails is named with its host")]
fn check(case: impl Fn(&Hosted)) {
    for (name, workers, spawn) in HOSTS {
        eprintln!("{name}, {workers} workers");
        let hosted = Hosted::start(workers, spawn);
        case(&hosted);
        hosted.stop(workers);
    }
}

#[test]
fn many_peers_with_one_command_in_flight() {
    check(|hosted| {
        let mut peers: Vec<_> = (0..100).map(|_| hosted.peer()).collect();
        for round in 0..20 {
            for (number, peer) in peers.iter_mut().enumerate() {
                let sent = format!("echo {round} {number}\n");
                assert_eq!(ask(peer, &sent), sent[5..]);
            }
        }
        assert_eq!(hosted.counters.open(), 100);
    });
}

#[test]
fn pipelined_commands_and_large_replies() {
    check(|hosted| {
        let mut peer = hosted.peer();
        let lines: String = (0..20_000).map(|line| format!("echo {line}\n")).collect();
        let mut sender = peer.get_ref().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            sender.write_all(lines.as_bytes()).unwrap();
            sender.write_all(b"big 20000000\nquit\n").unwrap();
        });
        for line in 0..20_000 {
            let mut got = String::new();
            peer.read_line(&mut got).unwrap();
            assert_eq!(got, format!("{line}\n"));
        }
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        writer.join().unwrap();
        assert_eq!((rest.len(), &rest[20_000_000..]), (20_000_004, &b"bye\n"[..]));
    });
}

#[test]
fn bytes_are_counted_before_a_worker_sleeps() {
    check(|hosted| {
        let mut peer = hosted.peer();
        assert_eq!(ask(&mut peer, "echo one\n"), "one\n");
        // Nothing else comes: whatever the worker is to count, it has to count by itself.
        let counts = || [hosted.counters.received.get(), hosted.counters.sent.get()];
        wait_for("both are counted", || counts() == [9, 4]);
    });
}

#[test]
fn short_connections_in_a_burst_are_served() {
    check(|hosted| {
        for number in 0..300 {
            let mut peer = hosted.peer();
            peer.get_mut().write_all(format!("echo {number}\n").as_bytes()).unwrap();
            peer.get_mut().shutdown(Shutdown::Write).unwrap();
            let mut got = String::new();
            peer.read_to_string(&mut got).unwrap();
            assert_eq!(got, format!("{number}\n"));
        }
    });
}

#[test]
fn panic_in_a_handler_does_not_end_its_worker() {
    check(|hosted| {
        let mut bad = hosted.peer();
        let mut got = Vec::new();
        bad.get_mut().write_all(b"half\n").unwrap();
        bad.read_to_end(&mut got).unwrap();
        assert!(got.is_empty());
        for _ in 0..10 {
            assert_eq!(ask(&mut hosted.peer(), "echo alive\n"), "alive\n");
        }
        wait_for("it is counted", || hosted.counters.closed(CloseReason::Panicked) == 1);
    });
}

#[test]
fn stop_with_silent_half_open_and_busy_peers() {
    check(|hosted| {
        let mut busy = hosted.peer();
        let silent: Vec<_> = (0..5).map(|_| hosted.peer()).collect();
        let mut half = hosted.peer();
        assert_eq!(ask(&mut half, "echo one\necho hal"), "one\n");
        assert_eq!(ask(&mut busy, "echo now\nbig 20000000\n"), "now\n");
        hosted.workers.stop(hosted.clock.now() + TIMEOUT);
        let mut rest = Vec::new();
        busy.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 20_000_000);
        rest.clear();
        for mut peer in silent {
            peer.read_to_end(&mut rest).unwrap();
        }
        // Half a line is still waited for.
        wait_for("all others are closed", || hosted.counters.closed(CloseReason::Shutdown) == 6);
        hosted.workers.stop(hosted.clock.now());
        half.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "ended without a word");
    });
}

/// The three ways to wake a parked worker: a socket, the message queue (each connection accepted for
/// another worker, and the stop), the timer. A host that misses one does not answer; one that does not
/// park iterates without end.
#[test]
fn parked_worker_wakes_for_sockets_messages_and_timers() {
    check(|hosted| {
        let mut peer = hosted.peer();
        for round in 0..30 {
            assert_eq!(ask(&mut peer, &format!("echo {round}\n")), format!("{round}\n"));
            assert_eq!(ask(&mut hosted.peer(), "quit\n"), "bye\n");
            // Nothing comes for longer than a host lingers, so that it parks.
            peer.get_ref().set_read_timeout(Some(Duration::from_millis(40))).unwrap();
            assert!(peer.fill_buf().is_err());
            peer.get_ref().set_read_timeout(Some(TIMEOUT)).unwrap();
        }
        let before = hosted.counters.iterations.get();
        assert_eq!(ask(&mut peer, "nap\n"), "late\n");
        let iterations = hosted.counters.iterations.get() - before;
        // Without a park there are thousands.
        assert!(iterations < 300, "{iterations} iterations for one nap: the worker does not park");
    });
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = Clock::system();
    let deadline = clock.now() + TIMEOUT;
    while !is_so() {
        assert!(clock.now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

/// Whether an answer is here.
fn is_answered(peer: &BufReader<TcpStream>) -> bool {
    peer.get_ref().set_nonblocking(true).unwrap();
    let is_here = peer.get_ref().peek(&mut [0]).is_ok();
    peer.get_ref().set_nonblocking(false).unwrap();
    is_here
}

/// Worker 0 does nothing else any more. With an acceptor every connection is accepted, and the other
/// workers serve theirs; where workers accept for themselves, the others serve all.
#[test]
fn busy_worker_keeps_nobody_from_connecting() {
    for (name, workers, spawn) in HOSTS {
        let hosted = Hosted::start(workers, spawn);
        let is_blocked = || hosted.log.is_blocked.load(Ordering::SeqCst);
        hosted.log.blocks.store(true, Ordering::SeqCst);
        let mut before = Vec::new();
        while !is_blocked() {
            let mut peer = hosted.peer();
            peer.get_mut().write_all(b"block\n").unwrap();
            wait_for(name, || is_blocked() || is_answered(&peer));
            before.push(peer);
        }
        let mut peers: Vec<_> = (0..40).map(|_| hosted.peer()).collect();
        let accepted = (before.len() + peers.len()) as u64;
        wait_for(name, || hosted.counters.accepted.get() == accepted);
        for peer in &mut peers {
            peer.get_mut().write_all(b"echo in\n").unwrap();
        }
        match (name, workers) {
            ("may", _) => wait_for(name, || peers.iter().all(is_answered)),
            (_, 1) => {}
            _ => wait_for(name, || peers.iter().any(is_answered)),
        }
        hosted.log.blocks.store(false, Ordering::SeqCst);
        for peer in &mut peers {
            let mut line = String::new();
            peer.read_line(&mut line).unwrap();
            assert_eq!(line, "in\n", "{name}");
        }
        hosted.stop(workers);
    }
}

/// On the hosts whose workers accept for themselves: clients that stay would make one worker do all.
#[test]
fn connections_are_spread_over_workers_that_have_nothing_to_do() {
    let (name, workers, spawn) = HOSTS[4];
    let hosted = Hosted::start(workers, spawn);
    let mut peers: Vec<_> = (0..60).map(|_| hosted.peer()).collect();
    // On a machine that is busy a worker may seem to be so itself.
    wait_for(name, || {
        peers.push(hosted.peer());
        peers.iter_mut().for_each(|peer| assert_eq!(ask(peer, "echo in\n"), "in\n"));
        let least = hosted.workers.handles.iter().map(LoopHandle::connections).min();
        least.is_some_and(|least| 3 * workers * least >= 2 * peers.len())
    });
    drop(peers);
    hosted.stop(workers);
}

/// No machine has the CPU that the second worker is to be pinned to.
#[test]
fn glommio_that_fails_for_a_later_worker_leaves_nothing_running() {
    let (counters, log) = (Arc::new(ConnectionCounters::default()), Arc::new(Log::default()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let cpus = vec![crate::resources::affinity().unwrap()[0], 1023];
    let config = HostConfig { cpus, ..config(2, listener, Clock::system(), Arc::clone(&counters)) };
    let lines = Arc::clone(&log);
    let spawned = Runtime::Glommio.spawn(config, move |_| Lines::new(Arc::clone(&lines)));
    assert!(spawned.is_err());
    assert_eq!((Arc::strong_count(&counters), Arc::strong_count(&log)), (1, 1));
    assert!(TcpStream::connect(address).is_err(), "nobody listens");
}

/// Its peers lose their connections without a word.
#[test]
fn worker_that_panics_is_reported() {
    for (name, workers, spawn) in HOSTS {
        let hosted = Hosted::start(workers, spawn);
        hosted.log.poison();
        let mut peer = hosted.peer();
        peer.get_mut().write_all(b"echo last\n").unwrap();
        let exit = hosted.workers.exits.recv_timeout(TIMEOUT).unwrap();
        assert!(exit.result.is_err(), "{name}");
        hosted.workers.stop(hosted.clock.now());
        assert!(hosted.workers.join().is_err(), "{name}");
        assert_eq!(hosted.log.endings(), Vec::<CloseReason>::new());
    }
}
