//! One nsqd, played by hand: what it writes, when it wakes, how it gives up and comes back.

use super::*;
use crate::actors::world::World;
use crate::input::scenario::Scenario;
use crate::input::target::Target;
use crate::measure::interval::Interval;
use crate::model::truth::Shown;
use musterd::clock::Clock;

const ALONE: &str = "about = 'one nsqd'\nduration = '60s'\n[topics]\ncount = 1\nchannels = 2\n[[nsqds]]\ncount = 1\ntopics = 1\n";

/// One nsqd in a world whose clock stands where the test sets it.
struct Scene {
    world: World,
    nsqd: Nsqd,
    stats: Interval,
    now: Timestamp,
}

/// What an event made it do.
#[derive(Debug)]
struct Did {
    order: Order,
    wrote: String,
    writes: usize,
    wake: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let scenario = Scenario::parse("test", ALONE).expect("a good scenario");
        let now = Timestamp::from_unix_nanos(1_000_000_000_000);
        let target = Target::new("127.0.0.1:1", "127.0.0.1:2", false).expect("loopback");
        let plan = Plan::draw(&scenario);
        let world = World::new(plan, target, Clock::manual(now), 1).expect("an eventfd");
        Self { world, nsqd: Nsqd::new(0, 1), stats: Interval::default(), now }
    }

    fn event(&mut self, event: Event<'_>) -> Did {
        let (mut out, mut cuts) = (Vec::new(), Vec::new());
        let mut io = Io {
            now: self.now,
            world: &self.world,
            stats: &mut self.stats,
            shown: &mut Shown::new(1),
            out: &mut out,
            cuts: &mut cuts,
            order: Order::Go,
            wake: Timestamp::NEVER,
        };
        self.nsqd.event(event, &mut io);
        let (order, wake) = (io.order, io.wake);
        let wrote = String::from_utf8_lossy(&out).into_owned();
        Did { order, wrote, writes: cuts.len() + 1, wake }
    }

    /// It arrives and registers; both channels are acknowledged.
    fn registered(&mut self) {
        assert_eq!(self.event(Event::Wake).order, Order::Connect(Port::Tcp));
        let identify = self.event(Event::Connected);
        assert!(identify.wrote.starts_with("  V1IDENTIFY\n\0\0\0"), "{identify:?}");
        assert!(identify.wrote.contains("\"broadcast_address\":\"nsqd-0000000.fleet\""));
        assert_eq!(identify.writes, 4);
        let first = self.event(Event::Data(b"\0\0\0\x02{}"));
        assert_eq!(first.wrote, "REGISTER topic-0000000 channel-0\n");
        // Its words, its spaces and its end are written one by one, as go-nsq does.
        assert_eq!(first.writes, 6);
        assert_eq!(self.event(Event::Data(b"\0\0\0\x02O")).wrote, "", "one command in flight");
        let second = self.event(Event::Data(b"K"));
        assert_eq!(second.wrote, "REGISTER topic-0000000 channel-1\n");
        let idle = self.event(Event::Data(wire::OK));
        assert_eq!((idle.order, idle.wrote.as_str()), (Order::Go, ""));
        assert_eq!(self.world.gauges.complete.load(Relaxed), 1);
    }
}

#[test]
fn it_says_what_nsqd_says() {
    let mut scene = Scene::new();
    scene.registered();
    let tick = scene.event(Event::Notice(scene.now)).wake;
    assert!(tick.since(scene.now) <= Duration::from_secs(15));
    scene.now = tick + Duration::from_millis(3);
    assert_eq!(scene.event(Event::Wake).wrote, "PING\n");
    scene.now = scene.now + Duration::from_millis(5);
    scene.event(Event::Data(wire::OK));
    let ping = &scene.stats.latencies[&Op::Ping];
    assert_eq!((ping.raw.max() / 1000, ping.corrected.max() / 1000), (5, 8));
}

#[test]
fn after_a_second_without_an_answer_it_comes_back_at_its_next_heartbeat() {
    let mut scene = Scene::new();
    scene.registered();
    let tick = scene.event(Event::Notice(scene.now)).wake;
    scene.now = tick;
    let deadline = scene.event(Event::Wake).wake;
    assert_eq!(deadline.since(tick), DEADLINE);
    scene.now = deadline;
    let gone = scene.event(Event::Wake);
    assert_eq!(gone.order, Order::Close);
    assert_eq!(scene.stats.counted(Count::Timeouts), 1);
    assert_eq!(gone.wake.since(tick), Duration::from_secs(15));
    scene.now = gone.wake;
    assert_eq!(scene.event(Event::Wake).order, Order::Connect(Port::Tcp));
}

#[test]
fn an_error_reply_ends_the_link() {
    let mut scene = Scene::new();
    scene.event(Event::Wake);
    scene.event(Event::Connected);
    assert_eq!(scene.event(Event::Data(b"\0\0\0\x09E_INVALID")).order, Order::Close);
    assert_eq!(scene.stats.counted(Count::Wrong), 1);
}
