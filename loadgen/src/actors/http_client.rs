//! One HTTP client: a polling consumer, one connection of an open loop, a watcher of one topic, or
//! nsqadmin. Each request has an intended time, independent of earlier responses; corrected latency
//! counts from it. Source of the consumer's behaviour: go-nsq `consumer.go` `lookupdLoop` and
//! `queryLookupd`.
//!
//! Must not: touch a socket.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::Timestamp;

use super::check::{self, Window};
use super::io::{Action, Event, Io, Port};
use super::requests::Request;
use super::response::Response;
use crate::measure::interval::RequestTimes;
use crate::measure::ops::Count;
use crate::model::names::Name;
use crate::model::plan::{HttpClientPlan, Workload};
use crate::model::rng::Rng;

/// go-nsq makes three attempts at a lookup.
const MAX_ATTEMPTS: u32 = 3;
/// A request that waited longer than this for the response before it counts as late.
const LATE_AFTER: Duration = Duration::from_millis(1);
/// Wait before a failed watcher asks again, and before a rate of zero is read again.
const RETRY_DELAY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Closed,
    Connecting,
    Open,
}

/// The request in flight.
#[derive(Clone, Debug)]
struct Pending {
    request: Request,
    times: RequestTimes,
    attempt: u32,
    /// It was sent on a keep-alive connection, which the server may have been closing.
    reused: bool,
}

/// One HTTP client.
#[derive(Debug)]
pub(crate) struct HttpClient {
    plan: HttpClientPlan,
    connection: ConnectionState,
    pending: Option<Pending>,
    response: Response,
    /// When the main part begins; [`Timestamp::NEVER`] before that is known.
    main: Timestamp,
    /// When the next request is due.
    due: Timestamp,
    /// A watcher's last response differs from what the oracle expects.
    outdated: bool,
    round: u32,
    rng: Rng,
}

impl HttpClient {
    /// The HTTP client number `number`, idle until the main part begins.
    pub(crate) fn new(plan: HttpClientPlan, number: u32, seed: u64) -> Self {
        Self {
            plan,
            connection: ConnectionState::Closed,
            pending: None,
            response: Response::new(),
            main: Timestamp::NEVER,
            due: Timestamp::NEVER,
            outdated: false,
            round: 0,
            rng: Rng::new(seed, (1 << 32) | u64::from(number)),
        }
    }

    /// Handles an event.
    pub(crate) fn event(&mut self, event: Event<'_>, io: &mut Io<'_>) {
        match event {
            Event::Wake => self.wake(io),
            Event::Start(main) => self.start(main, io),
            Event::Connected => self.connected(io),
            Event::Data(bytes) => self.data(bytes, io),
            Event::ConnectFailed => self.fail(Count::Refused, io),
            Event::Disconnected => self.disconnected(io),
            Event::TopicChanged(at) => self.topic_changed(at, io),
            Event::Drain => self.due = Timestamp::NEVER,
            Event::End => self.end(io),
        }
        io.wake = match &self.pending {
            Some(pending) => pending.times.sent + io.shared.plan.scenario.timeout.0,
            None => self.due,
        };
    }

    fn start(&mut self, main: Timestamp, io: &Io<'_>) {
        self.main = main;
        self.due = match &self.plan.workload {
            Workload::Poll { first, .. } => main + *first,
            Workload::Rate { group, phase } => {
                let interval = self.interval(*group, Duration::ZERO, io).unwrap_or(RETRY_DELAY);
                main + interval.mul_f64(*phase)
            }
            Workload::Watch { .. } => main,
            Workload::Admin { every } => main + *every,
        };
    }

    /// The time between two requests of one connection of the group, `at` after the start of the
    /// main part; `None` while the rate is zero.
    fn interval(&self, group: usize, at: Duration, io: &Io<'_>) -> Option<Duration> {
        let group = &io.shared.plan.scenario.arrivals[group];
        let rate = rate_at(&group.rate, at);
        (rate > 0.0).then(|| Duration::from_secs_f64(group.connections as f64 / rate))
    }

    /// Moves `due` to the next request.
    fn advance(&mut self, io: &Io<'_>) {
        let from = self.due;
        self.due = match &self.plan.workload {
            Workload::Poll { every, jitter, .. } => {
                let factor = 1.0 + jitter * (2.0 * self.rng.unit() - 1.0);
                from + every.mul_f64(factor)
            }
            Workload::Rate { group, .. } => {
                from + self.interval(*group, from.since(self.main), io).unwrap_or(RETRY_DELAY)
            }
            // `watched` sets the next one once the response is there.
            Workload::Watch { .. } => Timestamp::NEVER,
            Workload::Admin { every } => from + *every,
        };
    }

    fn wake(&mut self, io: &mut Io<'_>) {
        if let Some(pending) = &self.pending {
            if pending.times.sent + io.shared.plan.scenario.timeout.0 <= io.now {
                self.close(io);
                self.fail(Count::Timeouts, io);
            }
            return;
        }
        self.send_if_due(false, io);
    }

    /// Sends the request that is due and drops those that exceed the queue. `waited`: a request was
    /// in flight until now.
    fn send_if_due(&mut self, waited: bool, io: &mut Io<'_>) {
        self.drop_excess(io);
        if self.due > io.now || io.shared.draining() {
            return;
        }
        let intended = self.due;
        self.advance(io);
        if let Workload::Rate { group, .. } = self.plan.workload
            && rate_at(&io.shared.plan.scenario.arrivals[group].rate, intended.since(self.main))
                <= 0.0
        {
            return;
        }
        io.stats.count(Count::Late, u64::from(waited && io.now.since(intended) > LATE_AFTER));
        let request = self.next_request(io);
        let lookup = matches!(request, Request::Lookup(_) | Request::Miss(_));
        if lookup {
            io.count_due(Count::Due, intended);
        }
        self.send(request, intended, 1, io);
    }

    fn drop_excess(&mut self, io: &mut Io<'_>) {
        let Workload::Rate { group, .. } = self.plan.workload else { return };
        let queue = io.shared.plan.scenario.arrivals[group].queue;
        loop {
            let Some(interval) = self.interval(group, self.due.since(self.main), io) else {
                return;
            };
            if self.due == Timestamp::NEVER || self.due + interval.saturating_mul(queue) >= io.now {
                return;
            }
            let due = self.due;
            self.advance(io);
            io.count_due(Count::Dropped, due);
            io.count_due(Count::Due, due);
        }
    }

    fn next_request(&mut self, io: &Io<'_>) -> Request {
        match &self.plan.workload {
            Workload::Poll { topic, .. } if self.plan.missing => Request::Miss(*topic),
            Workload::Poll { topic, .. } | Workload::Watch { topic, .. } => Request::Lookup(*topic),
            Workload::Rate { .. } => {
                let topic = crate::num::index(io.shared.plan.popularity.pick(&mut self.rng));
                if self.plan.missing { Request::Miss(topic) } else { Request::Lookup(topic) }
            }
            Workload::Admin { .. } => {
                self.round += 1;
                let number = self.round / 5;
                let topics = io.shared.plan.scenario.topics.count;
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

    fn send(&mut self, request: Request, intended: Timestamp, attempt: u32, io: &mut Io<'_>) {
        io.shared.gauges.in_flight.fetch_add(1, Relaxed);
        let times = RequestTimes { intended, sent: io.now };
        io.sends(request.op());
        note_change(&request, Change::Sent, io);
        let reused = self.connection == ConnectionState::Open;
        self.response = Response::new();
        if reused {
            request.write(io.shared.target.http, self.plan.fresh, io.out);
        } else {
            io.action = Action::Connect(Port::Http);
            self.connection = ConnectionState::Connecting;
        }
        self.pending = Some(Pending { request, times, attempt, reused });
    }

    fn connected(&mut self, io: &mut Io<'_>) {
        self.connection = ConnectionState::Open;
        if let Some(pending) = &self.pending {
            pending.request.write(io.shared.target.http, self.plan.fresh, io.out);
        }
    }

    fn data(&mut self, bytes: &[u8], io: &mut Io<'_>) {
        if self.pending.is_none() {
            self.close(io);
            return io.garbled();
        }
        match self.response.feed(bytes) {
            Ok(None) => {}
            Ok(Some(rest)) => {
                self.response.trailing = !rest.is_empty();
                self.answered(io);
            }
            Err(_) => {
                self.close(io);
                io.garbled();
                self.fail(Count::ErrorReplies, io);
            }
        }
    }

    fn close(&mut self, io: &mut Io<'_>) {
        io.action = Action::Close;
        self.connection = ConnectionState::Closed;
    }

    fn answered(&mut self, io: &mut Io<'_>) {
        let Some(pending) = self.pending.take() else { return };
        io.shared.gauges.in_flight.fetch_sub(1, Relaxed);
        let response = std::mem::replace(&mut self.response, Response::new());
        if self.plan.fresh || response.closes || response.trailing {
            self.close(io);
        }
        self.check_response(&pending, &response, io);
        let retry = response.status != 200 && matches!(self.plan.workload, Workload::Poll { .. });
        if retry && pending.attempt < MAX_ATTEMPTS && !io.shared.draining() {
            return self.send(pending.request, io.now, pending.attempt + 1, io);
        }
        self.send_if_due(true, io);
    }

    /// Checks an answer; a status that no right target gives is an error instead.
    fn check_response(&mut self, pending: &Pending, response: &Response, io: &mut Io<'_>) {
        let Pending { request, times, .. } = pending;
        let status = response.status;
        if !request.may_be_answered_with(status) {
            io.error(Count::ErrorReplies, Some((request.op(), *times)));
            note_change(request, Change::Unknown, io);
            return self.watched(false, io);
        }
        io.stats.record_answer(request.op(), *times, io.now);
        note_change(request, Change::Acknowledged, io);
        let lookup = matches!(request, Request::Lookup(_) | Request::Miss(_));
        io.stats.count(Count::Lookups, u64::from(lookup));
        io.stats.count(Count::NotFound, u64::from(lookup && status == 404));
        let watched =
            matches!(request, Request::Lookup(topic) if io.shared.plan.watched[*topic as usize]);
        let measure_from = if watched { self.main } else { Timestamp::NEVER };
        let window = Window { sent: times.sent, received: io.now, measure_from };
        let found = check::check(request, window, response, io);
        self.watched(found.up_to_date, io);
    }

    fn watched(&mut self, up_to_date: bool, io: &Io<'_>) {
        let Workload::Watch { every, .. } = self.plan.workload else { return };
        self.set_outdated(!up_to_date, io);
        self.due =
            if up_to_date || io.shared.draining() { Timestamp::NEVER } else { io.now + every };
    }

    fn set_outdated(&mut self, outdated: bool, io: &Io<'_>) {
        let gauges = &io.shared.gauges;
        match (self.outdated, outdated) {
            (false, true) => drop(gauges.outdated.fetch_add(1, Relaxed)),
            (true, false) => {
                gauges.outdated.fetch_sub(1, Relaxed);
                gauges.up_to_date_at.store(io.now.unix_nanos(), Relaxed);
            }
            _ => {}
        }
        self.outdated = outdated;
    }

    /// A producer of the topic was added or removed: a consumer that used it asks at once.
    fn topic_changed(&mut self, at: Timestamp, io: &mut Io<'_>) {
        if io.shared.draining() || self.main == Timestamp::NEVER {
            return;
        }
        if matches!(self.plan.workload, Workload::Watch { .. }) {
            self.set_outdated(true, io);
        }
        if self.pending.is_none() && io.now >= self.main {
            self.due = self.due.min(at.max(self.main));
            self.send_if_due(false, io);
        } else if self.due == Timestamp::NEVER {
            self.due = at.max(self.main);
        }
    }

    fn disconnected(&mut self, io: &mut Io<'_>) {
        self.connection = ConnectionState::Closed;
        if self.pending.is_some() && self.response.close() {
            return self.answered(io);
        }
        let Some(pending) = &self.pending else { return };
        if pending.reused && self.response.is_empty() {
            // The server had closed the idle connection: Go's client silently sends it once more.
            let Pending { request, times, attempt, .. } = pending.clone();
            io.shared.gauges.in_flight.fetch_sub(1, Relaxed);
            io.stats.count(Count::Resent, 1);
            return self.send(request, times.intended, attempt, io);
        }
        self.fail(Count::Lost, io);
    }

    /// The request failed; a consumer retries it.
    fn fail(&mut self, why: Count, io: &mut Io<'_>) {
        self.connection = ConnectionState::Closed;
        let Some(pending) = self.pending.take() else { return };
        io.shared.gauges.in_flight.fetch_sub(1, Relaxed);
        io.error(why, Some((pending.request.op(), pending.times)));
        note_change(&pending.request, Change::Unknown, io);
        if io.shared.draining() {
            return;
        }
        match self.plan.workload {
            Workload::Poll { .. } if pending.attempt < MAX_ATTEMPTS => {
                self.send(pending.request, io.now, pending.attempt + 1, io);
            }
            // Its topic is still outdated: it keeps asking.
            Workload::Watch { every, .. } => self.due = io.now + every.max(RETRY_DELAY),
            // A failed connect is not retried within the same call.
            Workload::Rate { .. } if why == Count::Refused => {
                self.due = self.due.max(io.now + LATE_AFTER);
            }
            _ => {}
        }
    }

    fn end(&mut self, io: &mut Io<'_>) {
        io.action = Action::Close;
        self.due = Timestamp::NEVER;
        if let Some(pending) = self.pending.take() {
            io.shared.gauges.in_flight.fetch_sub(1, Relaxed);
            io.error(Count::Unanswered, Some((pending.request.op(), pending.times)));
        }
    }
}

/// What is known of a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Sent,
    Acknowledged,
    /// It failed: it may be done or not, now or later.
    Unknown,
}

/// Informs the oracle of a change of nsqadmin's own topics.
fn note_change(request: &Request, change: Change, io: &Io<'_>) {
    let (number, makes) = match request {
        Request::Create(number) => (*number, true),
        Request::Delete(number) => (*number, false),
        _ => return,
    };
    io.shared.oracle.admin(|names| {
        if !names.iter().any(|(other, _)| *other == number) {
            names.push((number, Name::UNUSED));
        }
        let names = names.iter_mut().filter(|(other, _)| *other == number);
        names.for_each(|(_, name)| match (change, makes) {
            (Change::Unknown, _) => *name = Name::UNKNOWN,
            (_, true) => name.make(change == Change::Acknowledged, io.now),
            (_, false) => name.remove(change == Change::Acknowledged, io.now),
        });
    });
}

/// The rate at a time: linear between the points, constant before the first and after the last.
pub(crate) fn rate_at(
    points: &[(crate::input::human_duration::HumanDuration, f64)],
    at: Duration,
) -> f64 {
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
    use crate::input::human_duration::HumanDuration;

    #[test]
    fn rate_is_interpolated_between_points() {
        let points = [
            (HumanDuration(Duration::from_secs(1)), 10.0),
            (HumanDuration(Duration::from_secs(3)), 30.0),
        ];
        let cases = [(0.0, 10.0), (1.0, 10.0), (2.0, 20.0), (3.0, 30.0), (9.0, 30.0)];
        for (at, want) in cases {
            let got = rate_at(&points, Duration::from_secs_f64(at));
            assert!((got - want).abs() < 1e-9, "at {at}: {got}");
        }
        assert!(rate_at(&[], Duration::ZERO).abs() < f64::EPSILON);
    }
}
