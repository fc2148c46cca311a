//! The same conversations through every host: a bare thread, glommio with one and with several
//! shards, may. The test's side is plain blocking sockets; a host that sleeps through an event
//! shows as a read that times out.

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader};
use std::net::Shutdown;

use super::*;
use crossbeam::channel::{Receiver, unbounded};

use crate::handler::CloseReason;
use crate::{http, shard};

/// What a blocking read waits for at most; only a broken host makes it so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Hosted {
    running: Workers,
    exits: Receiver<WorkerExit>,
    address: SocketAddr,
    clock: Clock,
    counters: Arc<ConnectionCounters>,
    log: Arc<Log>,
}

type Spawn = fn(HostConfig, Arc<Log>) -> io::Result<Workers>;

const HOSTS: [(&str, usize, Spawn); 4] = [
    ("thread", 1, on_a_thread),
    ("glommio", 1, on_glommio),
    ("glommio", 3, on_glommio),
    ("may", 2, on_may),
];

fn on_glommio(hosting: HostConfig, log: Arc<Log>) -> io::Result<Workers> {
    shard::spawn(hosting, &crate::resources::cpus().unwrap(), move |_| Lines::new(Arc::clone(&log)))
}

fn on_may(hosting: HostConfig, log: Arc<Log>) -> io::Result<Workers> {
    http::server::spawn(hosting, move |_| Lines::new(Arc::clone(&log)))
}

/// The simplest host there is: what loadgen or a test would do.
fn on_a_thread(hosting: HostConfig, log: Arc<Log>) -> io::Result<Workers> {
    let (mut inits, handles) = hosting.prepare()?;
    let init = inits.remove(0);
    let thread = std::thread::spawn(move || {
        let exit_guard = init.exit_guard();
        let mut table = init.table(Lines::new(log))?;
        while table.turn(WAIT)? != Progress::Drained {}
        exit_guard.say(&Ok(()));
        Ok(())
    });
    Ok(Workers::new(handles, vec![Box::new(move || thread.join().unwrap())]))
}

impl Hosted {
    fn start(tables: usize, spawn: Spawn) -> Self {
        let (exits, told) = unbounded();
        let (counters, log) = (Arc::new(ConnectionCounters::default()), Arc::new(Log::default()));
        let (listener, clock) = (listener(), Clock::system());
        let address = listener.local_addr().unwrap();
        let hosting = HostConfig {
            tables,
            listener,
            route: shard::by_peer(tables),
            policy: None,
            options: OPTIONS,
            clock: clock.clone(),
            counters: Arc::clone(&counters),
            exits,
        };
        let running = spawn(hosting, Arc::clone(&log)).unwrap();
        Self { running, exits: told, address, clock, counters, log }
    }

    fn peer(&self) -> BufReader<TcpStream> {
        let peer = TcpStream::connect(self.address).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.set_nodelay(true).unwrap();
        BufReader::new(peer)
    }

    /// Stops, joins, and checks that every table said exit_guard and nothing is left open.
    fn stop(self, tables: usize) {
        self.running.stop(self.clock.now() + Duration::from_secs(3));
        self.running.join().unwrap();
        let ended: HashSet<_> = self
            .exits
            .try_iter()
            .map(|exit| {
                exit.result.unwrap();
                exit.table
            })
            .collect();
        assert_eq!(ended, (0..tables).collect());
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
    for (name, tables, spawn) in HOSTS {
        eprintln!("{name}, {tables} tables");
        let hosted = Hosted::start(tables, spawn);
        case(&hosted);
        hosted.stop(tables);
    }
}

#[test]
fn many_peers_one_command_at_a_time() {
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
fn pipelined_and_large() {
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
fn a_burst_of_short_connections() {
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
fn a_panic_leaves_the_host_alone() {
    check(|hosted| {
        let mut bad = hosted.peer();
        let mut got = Vec::new();
        bad.get_mut().write_all(b"half\n").unwrap();
        bad.read_to_end(&mut got).unwrap();
        assert!(got.is_empty());
        for _ in 0..10 {
            assert_eq!(ask(&mut hosted.peer(), "echo alive\n"), "alive\n");
        }
        assert_eq!(hosted.counters.closed(CloseReason::Panicked), 1);
    });
}

#[test]
fn a_stop_with_silent_half_open_and_busy_peers() {
    check(|hosted| {
        let mut busy = hosted.peer();
        let silent: Vec<_> = (0..5).map(|_| hosted.peer()).collect();
        let mut half = hosted.peer();
        assert_eq!(ask(&mut half, "echo one\necho hal"), "one\n");
        assert_eq!(ask(&mut busy, "echo now\nbig 20000000\n"), "now\n");
        hosted.running.stop(hosted.clock.now() + PATIENCE);
        let mut rest = Vec::new();
        busy.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 20_000_000);
        rest.clear();
        for mut peer in silent {
            peer.read_to_end(&mut rest).unwrap();
        }
        assert_eq!(
            hosted.counters.closed(CloseReason::Shutdown),
            6,
            "half a line is still waited for"
        );
        hosted.running.stop(hosted.clock.now());
        half.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "ended without a word");
    });
}

/// The three ways into a parked table: a socket, the mailbox (each accepted connection of another
/// table, and the stop), the timer. A host that sleeps too deeply does not acknowledge; one that does
/// not sleep takes turns without end.
#[test]
fn a_parked_host_wakes_for_sockets_mail_and_time() {
    check(|hosted| {
        let mut peer = hosted.peer();
        for round in 0..30 {
            assert_eq!(ask(&mut peer, &format!("echo {round}\n")), format!("{round}\n"));
            assert_eq!(ask(&mut hosted.peer(), "quit\n"), "bye\n");
            // Nothing comes for longer than a host lingers, so that it parks.
            peer.get_ref().set_read_timeout(Some(Duration::from_millis(40))).unwrap();
            assert!(peer.fill_buf().is_err());
            peer.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let before = hosted.counters.turns.get();
        assert_eq!(ask(&mut peer, "nap\n"), "late\n");
        let turns = hosted.counters.turns.get() - before;
        // Turns of before may be told now, up to 64 a table; one that does not sleep takes thousands.
        assert!(turns < 300, "{turns} turns for one nap: the host does not sleep");
    });
}

/// A table that fails is told by whoever hosts it, and takes its peers along.
#[test]
fn a_table_that_dies_is_told() {
    for (name, tables, spawn) in &HOSTS[1..] {
        let hosted = Hosted::start(*tables, *spawn);
        hosted.log.poison();
        let mut peer = hosted.peer();
        peer.get_mut().write_all(b"echo last\n").unwrap();
        let exit = hosted.exits.recv_timeout(PATIENCE).unwrap();
        assert!(exit.result.is_err(), "{name}");
        hosted.running.stop(hosted.clock.now());
        assert!(hosted.running.join().is_err(), "{name}");
        assert_eq!(hosted.log.endings(), Vec::<CloseReason>::new());
    }
}
