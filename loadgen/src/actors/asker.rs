//! One HTTP client: a polling consumer, one connection of an open loop, a watcher of one topic, or
//! nsqadmin. Its requests are due at moments of their own; what comes late counts from there.
//! Source of the consumer's habits: go-nsq `consumer.go` `lookupdLoop` and `queryLookupd`.
//!
//! Must not: touch a socket.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use musterd::clock::Timestamp;

use super::check;
use super::requests::Request;
use super::response::Response;
use super::{Event, Io, Order, Port};
use crate::measure::interval::Asked;
use crate::measure::ops::{Count, Op};
use crate::model::plan::{AskerPlan, Asking};
use crate::model::rng::Rng;
use crate::model::truth::Answer;

/// go-nsq tries a lookup three times.
const TRIES: u32 = 3;
/// Past this, a request that had to wait for the one before counts as late.
const LATE: Duration = Duration::from_millis(1);
/// A rate of nothing is asked again after this long.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Off,
    Connecting,
    On,
}

/// A request under way.
#[derive(Clone, Debug)]
struct Flight {
    request: Request,
    asked: Asked,
    tries: u32,
    /// It was sent on a connection that had served before, which may have been closing.
    reused: bool,
}

/// One HTTP client.
#[derive(Debug)]
pub(crate) struct Asker {
    plan: AskerPlan,
    link: Link,
    flight: Option<Flight>,
    response: Response,
    main: Timestamp,
    /// When the next request is due.
    due: Timestamp,
    /// A watcher's topic does not show what is true yet.
    unsettled: bool,
    round: u32,
    rng: Rng,
}

impl Asker {
    /// The HTTP client number `number`, silent until the main part begins.
    pub(crate) fn new(plan: AskerPlan, number: u32, seed: u64) -> Self {
        Self {
            plan,
            link: Link::Off,
            flight: None,
            response: Response::new(),
            main: Timestamp::NEVER,
            due: Timestamp::NEVER,
            unsettled: false,
            round: 0,
            rng: Rng::new(seed, (1 << 32) | u64::from(number)),
        }
    }

    /// Deals with an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Wake => self.wake(io),
            Event::Start(main) => self.start(main, io),
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::Refused => self.failed(Count::Refused, io),
            Event::Lost => self.lost(io),
            Event::Notice(at) => self.notice(at, io),
            Event::Drain => self.due = Timestamp::NEVER,
            Event::End => self.end(io),
        }
        io.wake = match &self.flight {
            Some(flight) => flight.asked.sent + io.world.plan.scenario.timeout.0,
            None => self.due,
        };
    }

    fn start(&mut self, main: Timestamp, io: &Io<'_>) {
        self.main = main;
        self.due = match &self.plan.asking {
            Asking::Poll { first, .. } => main + *first,
            Asking::Rate { group, phase } => {
                let round = self.round_length(*group, Duration::ZERO, io).unwrap_or(PAUSE);
                main + round.mul_f64(*phase)
            }
            Asking::Watch { .. } => main,
            Asking::Admin { every } => main + *every,
        };
    }

    /// How long one connection of the group has between two requests, at that time of the main
    /// part; `None` while the rate is nothing.
    fn round_length(&self, group: usize, at: Duration, io: &Io<'_>) -> Option<Duration> {
        let group = &io.world.plan.scenario.arrivals[group];
        let rate = rate_at(&group.rate, at);
        (rate > 0.0).then(|| Duration::from_secs_f64(group.connections as f64 / rate))
    }

    /// Moves `due` to the request after that one.
    fn advance(&mut self, io: &Io<'_>) {
        let from = self.due;
        self.due = match &self.plan.asking {
            Asking::Poll { every, jitter, .. } => {
                let factor = 1.0 + jitter * (2.0 * self.rng.unit() - 1.0);
                from + every.mul_f64(factor)
            }
            Asking::Rate { group, .. } => {
                from + self.round_length(*group, from.since(self.main), io).unwrap_or(PAUSE)
            }
            // A watcher asks again when its answer is there, and never in arrears.
            Asking::Watch { .. } => Timestamp::NEVER,
            Asking::Admin { every } => from + *every,
        };
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        if let Some(flight) = &self.flight {
            if flight.asked.sent + io.world.plan.scenario.timeout.0 <= io.now {
                io.order = Order::Close;
                self.link = Link::Off;
                self.failed(Count::Timeouts, io);
            }
            return;
        }
        self.next_due(false, io);
    }

    /// Sends what is due; drops what has waited too long. `waited`: until now an answer was.
    fn next_due(&mut self, waited: bool, io: &mut Io<'_>) {
        self.drop_excess(io);
        if self.due > io.now || io.world.draining() {
            return;
        }
        let intended = self.due;
        self.advance(io);
        if let Asking::Rate { group, .. } = self.plan.asking
            && rate_at(&io.world.plan.scenario.arrivals[group].rate, intended.since(self.main))
                <= 0.0
        {
            return;
        }
        io.stats.count(Count::Late, u64::from(waited && io.now.since(intended) > LATE));
        let request = self.choose(io);
        let lookup = matches!(request, Request::Lookup(_) | Request::Miss(_));
        io.stats.count(Count::Due, u64::from(lookup));
        self.send(request, intended, 1, io);
    }

    fn drop_excess(&mut self, io: &mut Io<'_>) {
        let Asking::Rate { group, .. } = self.plan.asking else { return };
        let queue = io.world.plan.scenario.arrivals[group].queue;
        loop {
            let Some(round) = self.round_length(group, self.due.since(self.main), io) else {
                return;
            };
            if self.due == Timestamp::NEVER || self.due + round.saturating_mul(queue) >= io.now {
                return;
            }
            self.advance(io);
            io.stats.count(Count::Dropped, 1);
            io.stats.count(Count::Due, 1);
        }
    }

    fn choose(&mut self, io: &Io<'_>) -> Request {
        match &self.plan.asking {
            Asking::Poll { topic, .. } if self.plan.missing => Request::Miss(*topic),
            Asking::Poll { topic, .. } | Asking::Watch { topic, .. } => Request::Lookup(*topic),
            Asking::Rate { .. } => {
                let topic = crate::num::index(io.world.plan.popularity.pick(&mut self.rng));
                if self.plan.missing { Request::Miss(topic) } else { Request::Lookup(topic) }
            }
            Asking::Admin { .. } => {
                self.round += 1;
                let number = self.round / 5;
                let topics = io.world.plan.scenario.topics.count;
                match self.round % 5 {
                    0 => Request::Create(number),
                    1 => Request::Nodes,
                    2 => Request::Topics,
                    3 => Request::Channels(crate::num::index(self.rng.below(topics))),
                    _ => Request::Delete(number),
                }
            }
        }
    }

    fn send(&mut self, request: Request, intended: Timestamp, tries: u32, io: &mut Io<'_>) {
        io.world.gauges.in_flight.fetch_add(1, Relaxed);
        let asked = Asked { intended, sent: io.now };
        let reused = self.link == Link::On;
        self.response = Response::new();
        if reused {
            request.write(io.world.target.http, self.plan.fresh, io.out);
        } else {
            io.order = Order::Connect(Port::Http);
            self.link = Link::Connecting;
        }
        self.flight = Some(Flight { request, asked, tries, reused });
    }

    fn connected(&mut self, io: &mut Io<'_>) {
        self.link = Link::On;
        if let Some(flight) = &self.flight {
            flight.request.write(io.world.target.http, self.plan.fresh, io.out);
        }
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        if self.flight.is_none() {
            io.order = Order::Close;
            self.link = Link::Off;
            return io.stats.count(Count::Wrong, 1);
        }
        match self.response.feed(bytes) {
            Ok(None) => {}
            Ok(Some(_)) => self.answered(io),
            Err(_) => {
                io.order = Order::Close;
                self.link = Link::Off;
                self.failed(Count::Wrong, io);
            }
        }
    }

    fn answered(&mut self, io: &mut Io<'_>) {
        let Some(flight) = self.flight.take() else { return };
        io.world.gauges.in_flight.fetch_sub(1, Relaxed);
        let response = std::mem::replace(&mut self.response, Response::new());
        if self.plan.fresh || response.closes {
            io.order = Order::Close;
            self.link = Link::Off;
        }
        io.stats.answered(op(&flight.request), flight.asked, io.now);
        let again = self.examine(&flight, &response, io);
        if again && flight.tries < TRIES && !io.world.draining() {
            return self.send(flight.request, io.now, flight.tries + 1, io);
        }
        self.next_due(true, io);
    }

    /// Checks an answer; true when a consumer would ask again at once.
    fn examine(&mut self, flight: &Flight, response: &Response, io: &mut Io<'_>) -> bool {
        let status = response.status;
        match flight.request {
            Request::Lookup(topic) => {
                io.stats.count(Count::Lookups, 1);
                io.stats.count(Count::NotFound, u64::from(status == 404));
                io.stats.count(Count::Wrong, u64::from(!matches!(status, 200 | 404)));
                let watched = io.world.plan.watched[topic as usize];
                let measured = if watched { self.main } else { Timestamp::NEVER };
                let answer = Answer { topic, asked: flight.asked.sent, got: io.now, measured };
                let found = check::lookup(answer, status, &response.body, io);
                self.watched(found.settled, io);
            }
            Request::Miss(_) => {
                io.stats.count(Count::Lookups, 1);
                io.stats.count(Count::NotFound, u64::from(status == 404));
                io.stats.count(Count::Extra, u64::from(status != 404));
            }
            _ => io.stats.count(Count::Wrong, u64::from(status != 200)),
        }
        status != 200 && matches!(self.plan.asking, Asking::Poll { .. })
    }

    fn watched(&mut self, settled: bool, io: &Io<'_>) {
        let Asking::Watch { every, .. } = self.plan.asking else { return };
        self.settle(!settled, io);
        self.due = if settled || io.world.draining() { Timestamp::NEVER } else { io.now + every };
    }

    fn settle(&mut self, unsettled: bool, io: &Io<'_>) {
        let gauges = &io.world.gauges;
        match (self.unsettled, unsettled) {
            (false, true) => drop(gauges.unsettled.fetch_add(1, Relaxed)),
            (true, false) => {
                gauges.unsettled.fetch_sub(1, Relaxed);
                gauges.settled_at.store(io.now.unix_nanos(), Relaxed);
            }
            _ => {}
        }
        self.unsettled = unsettled;
    }

    /// A producer of the topic came or went: a consumer that knew it asks at once.
    fn notice(&mut self, at: Timestamp, io: &mut Io<'_>) {
        if io.world.draining() || self.main == Timestamp::NEVER {
            return;
        }
        if matches!(self.plan.asking, Asking::Watch { .. }) {
            self.settle(true, io);
        }
        if self.flight.is_none() && io.now >= self.main {
            self.due = self.due.min(at.max(self.main));
            self.next_due(false, io);
        } else if self.due == Timestamp::NEVER {
            self.due = at.max(self.main);
        }
    }

    fn lost(&mut self, io: &mut Io<'_>) {
        self.link = Link::Off;
        if self.flight.is_some() && self.response.close() {
            return self.answered(io);
        }
        let Some(flight) = &self.flight else { return };
        if flight.reused && self.response.untouched() {
            // The server had closed the idle connection: Go's client sends it once more, unseen.
            let flight = self.flight.take().expect("it was there a line ago");
            io.world.gauges.in_flight.fetch_sub(1, Relaxed);
            let asked = flight.asked;
            self.send(flight.request, asked.intended, flight.tries, io);
            return;
        }
        self.failed(Count::Lost, io);
    }

    /// The request came to nothing; a consumer tries again.
    fn failed(&mut self, why: Count, io: &mut Io<'_>) {
        self.link = Link::Off;
        io.stats.count(why, 1);
        let Some(flight) = self.flight.take() else { return };
        io.world.gauges.in_flight.fetch_sub(1, Relaxed);
        io.stats.took(op(&flight.request), flight.asked, io.now);
        if io.world.draining() {
            return;
        }
        match self.plan.asking {
            Asking::Poll { .. } if flight.tries < TRIES => {
                self.send(flight.request, io.now, flight.tries + 1, io);
            }
            // Its topic is not settled: it keeps asking, at its own pace.
            Asking::Watch { every, .. } => self.due = io.now + every.max(PAUSE),
            // What failed at once is not tried again within the same turn.
            Asking::Rate { .. } if why == Count::Refused => self.due = self.due.max(io.now + LATE),
            _ => {}
        }
    }

    fn end(&mut self, io: &mut Io<'_>) {
        io.order = Order::Close;
        self.due = Timestamp::NEVER;
        if let Some(flight) = self.flight.take() {
            io.world.gauges.in_flight.fetch_sub(1, Relaxed);
            io.stats.took(op(&flight.request), flight.asked, io.now);
            io.stats.count(Count::Unanswered, 1);
        }
    }
}

fn op(request: &Request) -> Op {
    match request {
        Request::Lookup(_) => Op::Lookup,
        Request::Miss(_) => Op::Miss,
        Request::Topics | Request::Nodes | Request::Channels(_) => Op::Listing,
        Request::Create(_) | Request::Delete(_) => Op::Admin,
    }
}

/// The rate at a time: straight lines between the points, level before and after them.
pub(crate) fn rate_at(points: &[(crate::input::span::Span, f64)], at: Duration) -> f64 {
    let after = points.partition_point(|(time, _)| time.0 <= at);
    match (after.checked_sub(1).and_then(|before| points.get(before)), points.get(after)) {
        (Some((from, low)), Some((to, high))) => {
            let share = (at - from.0).as_secs_f64() / (to.0 - from.0).as_secs_f64();
            low + (high - low) * share
        }
        (Some((_, rate)), None) | (None, Some((_, rate))) => *rate,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::span::Span;

    #[test]
    fn the_rate_is_a_line_between_points() {
        let points = [(Span(Duration::from_secs(1)), 10.0), (Span(Duration::from_secs(3)), 30.0)];
        let cases = [(0.0, 10.0), (1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (9.0, 30.0)];
        for (at, want) in cases {
            let got = rate_at(&points, Duration::from_secs_f64(at));
            assert!((got - want).abs() < 1e-9, "at {at}: {got}");
        }
        assert!(rate_at(&[], Duration::ZERO).abs() < f64::EPSILON);
    }
}
