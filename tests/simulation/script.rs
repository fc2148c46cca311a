//! The steps of one run as data: drawn from a seed, and shrunk when they fail.
//!
//! Must not: know how a step is carried out. A step names connections by number, taken modulo those
//! that are open when it runs, so that any subset of a script is a script.

use std::time::Duration;

use musterd::registry::Capacity;
use testkit::Rng;

/// Topics and channels of every run: few, so that they meet.
pub(crate) const TOPICS: [&str; 4] = ["a", "b", "c#ephemeral", "d"];
pub(crate) const CHANNELS: [&str; 3] = ["x", "y#ephemeral", "z"];
/// Addresses that connections share, one after another and at once; the second is the first, as a
/// dual-stack listener shows it.
pub(crate) const ADDRESSES: [&str; 3] =
    ["127.0.0.1:1001", "[::ffff:127.0.0.1]:1001", "[2001:db8::1]:1002"];

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) shards: usize,
    pub(crate) capacity: Capacity,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// An nsqd connects to a shard and writes the magic; nothing arrives yet.
    Connect { shard: usize, address: usize, magic: &'static str },
    /// An nsqd writes a command; nothing arrives yet.
    Command { nsqd: usize, command: Command },
    /// So many more bytes of an nsqd arrive; the session is called once, with an output budget.
    Deliver { nsqd: usize, bytes: usize, budget: usize },
    /// An nsqd closes its sending side, after so many more bytes.
    End { nsqd: usize, bytes: usize },
    /// A connection breaks; bytes that have not arrived are lost.
    Reset { nsqd: usize },
    /// A shard publishes, sends its replies, and closes what was to be closed.
    Commit { shard: usize },
    /// A shard closes the connections whose deadline has passed.
    Sweep { shard: usize },
    /// An admin changes something over HTTP.
    Admin(Admin),
    /// Time passes.
    Jump(Jump),
}

/// What an nsqd sends.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// The number decides the broadcast address.
    Identify(usize),
    Register(&'static str, Option<&'static str>),
    Unregister(&'static str, Option<&'static str>),
    Ping,
    /// A line that is always rejected, with the reply before IDENTIFY and the one after.
    Wrong(&'static str, &'static str, &'static str),
    /// An IDENTIFY with this body, which is rejected with this reply.
    WrongBody(&'static str, &'static str),
    /// An IDENTIFY whose length is below zero.
    NegativeBody,
    /// A line that is too long.
    LongLine,
}

/// A change over HTTP. Nodes are numbered as in [`Say::Identify`].
#[derive(Clone, Debug)]
pub(crate) enum Admin {
    Create(&'static str, Option<&'static str>),
    DeleteTopic(&'static str),
    DeleteChannel(&'static str, &'static str),
    Tombstone(&'static str, usize),
}

/// How far time moves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jump {
    By(Duration),
    /// To the last nanosecond at which an nsqd is active, plus so many nanoseconds.
    Inactive {
        nsqd: usize,
        past: u64,
    },
    /// To the last nanosecond of the last tombstone, plus so many nanoseconds.
    Tombstone {
        past: u64,
    },
    /// To an nsqd's deadline, plus so many nanoseconds.
    Deadline {
        nsqd: usize,
        past: u64,
    },
}

const WRONG: [(&str, &str, &str); 6] = [
    ("FOO", "E_INVALID invalid command FOO", "E_INVALID invalid command FOO"),
    ("", "E_INVALID invalid command ", "E_INVALID invalid command "),
    (
        "REGISTER",
        "E_INVALID client must IDENTIFY",
        "E_INVALID REGISTER insufficient number of params",
    ),
    (
        "REGISTER b!",
        "E_INVALID client must IDENTIFY",
        "E_BAD_TOPIC REGISTER topic name 'b!' is not valid",
    ),
    (
        "UNREGISTER a #ephemeral",
        "E_INVALID client must IDENTIFY",
        "E_BAD_CHANNEL UNREGISTER channel name '#ephemeral' is not valid",
    ),
    ("ping", "E_INVALID invalid command ping", "E_INVALID invalid command ping"),
];

const WRONG_BODIES: [(&str, &str); 4] = [
    ("{}", "E_BAD_BODY IDENTIFY missing fields"),
    ("null", "E_BAD_BODY IDENTIFY missing fields"),
    ("", "E_BAD_BODY IDENTIFY failed to decode JSON body"),
    (r#"{"tcp_port":"1"}"#, "E_BAD_BODY IDENTIFY failed to decode JSON body"),
];

impl Script {
    /// The run of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let capacity = if rng.chance(15) {
            let registrations = 4 + rng.below(12);
            let http_names = 1 + rng.below(registrations);
            Capacity { registrations, per_nsqd: 2 + rng.below(6), http_names }
        } else {
            Capacity::default()
        };
        let length = 30 + rng.below(130);
        let mut script = Self { shards: 1 + rng.below(3), capacity, steps: Vec::new() };
        while script.steps.len() < length {
            script.extend(rng);
        }
        script
    }

    /// The steps, one a line.
    pub(crate) fn list(&self) -> String {
        let head = format!("{} shards, {:?}", self.shards, self.capacity);
        self.steps.iter().fold(head, |list, step| format!("{list}\n    {step:?}"))
    }

    fn extend(&mut self, rng: &mut Rng) {
        let nsqd = rng.below(8);
        let shard = rng.below(self.shards);
        let step = match rng.below(100) {
            0..8 => return self.connect(rng),
            8..40 => Step::Command { nsqd, command: command(rng) },
            40..68 => deliver(rng, nsqd),
            68..82 => Step::Commit { shard },
            82..83 => Step::End { nsqd, bytes: rng.pick(&[0, 3, usize::MAX]) },
            83..86 => Step::Reset { nsqd },
            86..88 => Step::Sweep { shard },
            88..96 => return self.administrate(rng),
            _ => Step::Jump(jump(rng, nsqd)),
        };
        self.steps.push(step);
    }

    /// A change over HTTP; often time then jumps to the end of the tombstone.
    fn administrate(&mut self, rng: &mut Rng) {
        let admin = admin(rng);
        let is_tombstone = matches!(admin, Admin::Tombstone(..));
        self.steps.push(Step::Admin(admin));
        if is_tombstone && rng.chance(60) {
            self.steps.push(Step::Jump(Jump::Tombstone { past: rng.pick(&[0, 1, 2]) }));
        }
    }

    /// Mostly an nsqd as it should be: magic, IDENTIFY and a REGISTER, in one segment.
    fn connect(&mut self, rng: &mut Rng) {
        let magic = if rng.chance(95) { "  V1" } else { "  V2" };
        let shard = rng.below(self.shards);
        self.steps.push(Step::Connect { shard, address: rng.below(ADDRESSES.len()), magic });
        // The newest connection: see `Daemon::index`.
        let nsqd = usize::MAX;
        if rng.chance(90) {
            self.steps.push(Step::Command { nsqd, command: Command::Identify(rng.below(3)) });
        }
        if rng.chance(60) {
            let command = Command::Register(rng.pick(&TOPICS), Some(rng.pick(&CHANNELS)));
            self.steps.push(Step::Command { nsqd, command });
        }
        if rng.chance(80) {
            let budget = usize::MAX / 2;
            self.steps.push(Step::Deliver { nsqd, bytes: usize::MAX, budget });
        }
    }
}

fn command(rng: &mut Rng) -> Command {
    let topic = rng.pick(&TOPICS);
    let channel = rng.chance(65).then(|| rng.pick(&CHANNELS));
    match rng.below(100) {
        0..50 => Command::Register(topic, channel),
        50..80 => Command::Unregister(topic, channel),
        80..94 => Command::Ping,
        94..96 => Command::Identify(rng.below(3)),
        96..97 => {
            let (text, unidentified, identified) = rng.pick(&WRONG);
            Command::Wrong(text, unidentified, identified)
        }
        97..98 => {
            let (body, rejection) = rng.pick(&WRONG_BODIES);
            Command::WrongBody(body, rejection)
        }
        98..99 => Command::NegativeBody,
        _ => Command::LongLine,
    }
}

fn deliver(rng: &mut Rng, nsqd: usize) -> Step {
    let bytes = if rng.chance(50) { usize::MAX } else { rng.below(30) };
    let budget = if rng.chance(85) { usize::MAX / 2 } else { 1 + rng.below(20) };
    Step::Deliver { nsqd, bytes, budget }
}

fn admin(rng: &mut Rng) -> Admin {
    let topic = rng.pick(&TOPICS);
    let channel = rng.pick(&CHANNELS);
    let topics = if rng.chance(15) { "*" } else { topic };
    match rng.below(100) {
        0..20 => Admin::Create(topic, rng.chance(70).then_some(channel)),
        20..40 => Admin::DeleteTopic(topics),
        40..60 => Admin::DeleteChannel(topic, channel),
        _ => Admin::Tombstone(topics, rng.below(3)),
    }
}

fn jump(rng: &mut Rng, nsqd: usize) -> Jump {
    let past = rng.pick(&[0, 0, 1, 1_000_000_000]);
    match rng.below(8) {
        0 => Jump::By(Duration::from_nanos(1)),
        1 => Jump::By(Duration::from_secs(rng.pick(&[1, 15, 60]))),
        2 | 3 => Jump::Inactive { nsqd, past },
        4 | 5 => Jump::Tombstone { past },
        _ => Jump::Deadline { nsqd, past },
    }
}

/// Leaves steps out while the script still fails: half of them at first, in the end one by one.
pub(crate) fn shrink(script: &Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut best = script.clone();
    let mut run = best.steps.len().div_ceil(2).max(1);
    loop {
        let before = best.steps.len();
        let mut at = 0;
        while at < best.steps.len() {
            let mut shorter = best.clone();
            shorter.steps.drain(at..(at + run).min(best.steps.len()));
            if fails(&shorter) {
                best = shorter;
            } else {
                at += run;
            }
        }
        if run == 1 && best.steps.len() == before {
            return best;
        }
        run = run.div_ceil(2);
    }
}
