//! Tests of one nsqd, driven event by event: what it writes, when it wakes, how it reconnects.

use super::*;
use crate::actors::shared::Shared;
use crate::clock::Clock;
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::measure::interval::Interval;
use crate::model::oracle::ListedProducers;

const ALONE: &str = "about = 'one nsqd'\nduration = '60s'\n[topics]\ncount = 1\nchannels = 2\n[[nsqds]]\ncount = 1\ntopics = 1\n";

/// One nsqd and a clock that the test sets.
struct Fixture {
    shared: Shared,
    nsqd: Nsqd,
    stats: Interval,
    now: Timestamp,
}

/// What an event caused.
#[derive(Debug)]
struct Effects {
    action: Action,
    wrote: String,
    writes: usize,
    wake: Timestamp,
}

/// The framed reply to IDENTIFY.
fn identified() -> Vec<u8> {
    let body =
        r#"{"tcp_port":1,"http_port":2,"version":"1","hostname":"h","broadcast_address":"b"}"#;
    let mut reply = Vec::new();
    wire::frame(body.as_bytes(), &mut reply);
    reply
}

impl Fixture {
    fn new() -> Self {
        let scenario = Scenario::parse("test", ALONE).expect("a valid scenario");
        let now = Timestamp::from_unix_nanos(1_000_000_000_000);
        let target = Target::new("127.0.0.1:1", "127.0.0.1:2", false).expect("loopback");
        let plan = Plan::generate(&scenario);
        let shared = Shared::new(plan, target, Clock::fixed(now), 1).expect("an eventfd");
        Self { shared, nsqd: Nsqd::new(0, 1), stats: Interval::default(), now }
    }

    fn event(&mut self, event: Event<'_>) -> Effects {
        let (mut out, mut splits) = (Vec::new(), Vec::new());
        let mut io = Io {
            lag: None,
            now: self.now,
            shared: &self.shared,
            local: None,
            stats: &mut self.stats,
            listed: &mut ListedProducers::new(1),
            out: &mut out,
            splits: &mut splits,
            action: Action::Continue,
            wake: Timestamp::NEVER,
        };
        self.nsqd.event(event, &mut io);
        let (action, wake) = (io.action, io.wake);
        let wrote = String::from_utf8_lossy(&out).into_owned();
        Effects { action, wrote, writes: splits.len() + 1, wake }
    }

    /// It connects and registers; both channels are acknowledged.
    fn register(&mut self) {
        assert_eq!(self.event(Event::Wake).action, Action::Connect(Port::Tcp));
        let identify = self.event(Event::Connected);
        assert!(identify.wrote.starts_with("  V1IDENTIFY\n\0\0\0"), "{identify:?}");
        assert!(identify.wrote.contains("\"broadcast_address\":\"nsqd-0000000.fleet\""));
        assert_eq!(identify.writes, 4);
        let first = self.event(Event::Data(&identified()));
        assert_eq!(first.wrote, "REGISTER topic-0000000 channel-0\n");
        // Words, spaces and the newline are separate writes, as in go-nsq.
        assert_eq!(first.writes, 6);
        assert_eq!(self.event(Event::Data(b"\0\0\0\x02O")).wrote, "", "one command in flight");
        let second = self.event(Event::Data(b"K"));
        assert_eq!(second.wrote, "REGISTER topic-0000000 channel-1\n");
        let idle = self.event(Event::Data(wire::OK));
        assert_eq!((idle.action, idle.wrote.as_str()), (Action::Continue, ""));
        assert_eq!(self.shared.gauges.complete.load(Relaxed), 1);
    }
}

#[test]
fn nsqd_sends_heartbeats_and_their_latency_counts_from_the_due_time() {
    let mut fixture = Fixture::new();
    fixture.register();
    let due = fixture.event(Event::TopicChanged(fixture.now)).wake;
    assert!(due.since(fixture.now) <= Duration::from_secs(15));
    fixture.now = due + Duration::from_millis(3);
    assert_eq!(fixture.event(Event::Wake).wrote, "PING\n");
    fixture.now = fixture.now + Duration::from_millis(5);
    fixture.event(Event::Data(wire::OK));
    let ping = &fixture.stats.latencies[&Op::Ping];
    assert_eq!((ping.raw.max() / 1000, ping.corrected.max() / 1000), (5, 8));
}

#[test]
fn nsqd_reconnects_at_its_next_heartbeat_after_a_timeout() {
    let mut fixture = Fixture::new();
    fixture.register();
    let due = fixture.event(Event::TopicChanged(fixture.now)).wake;
    fixture.now = due;
    let deadline = fixture.event(Event::Wake).wake;
    assert_eq!(deadline.since(due), DEADLINE);
    fixture.now = deadline;
    let gone = fixture.event(Event::Wake);
    assert_eq!(gone.action, Action::Close);
    assert_eq!(fixture.stats.counted(Count::Timeouts), 1);
    assert_eq!(gone.wake.since(due), Duration::from_secs(15));
    fixture.now = gone.wake;
    assert_eq!(fixture.event(Event::Wake).action, Action::Connect(Port::Tcp));
}

#[test]
fn error_reply_closes_the_connection() {
    let mut fixture = Fixture::new();
    fixture.event(Event::Wake);
    fixture.event(Event::Connected);
    assert_eq!(fixture.event(Event::Data(b"\0\0\0\x09E_INVALID")).action, Action::Close);
    assert_eq!(fixture.stats.counted(Count::ErrorReplies), 1);
}
