//! What happens, as data: the steps of one run, drawn from a seed, and shrunk when they fail.
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
    /// An nsqd connects to a shard, and its first bytes wait to be delivered.
    Connect { shard: usize, address: usize, magic: &'static str },
    /// An nsqd writes; nothing arrives yet.
    Say { nsqd: usize, say: Say },
    /// So many more bytes of an nsqd arrive; one turn, with an output budget.
    Deliver { nsqd: usize, bytes: usize, budget: usize },
    /// An nsqd closes its sending side, after so many more bytes.
    End { nsqd: usize, bytes: usize },
    /// A connection breaks, whatever is on its way.
    Reset { nsqd: usize },
    /// A shard publishes, sends its replies, and lets go of who was to be closed.
    Commit { shard: usize },
    /// A shard looks for deadlines that have passed.
    Sweep { shard: usize },
    /// Somebody asks for a change over HTTP.
    Ask(Admin),
    /// Time passes.
    Jump(Jump),
}

/// What an nsqd says.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// The number picks what it calls itself.
    Identify(usize),
    Register(&'static str, Option<&'static str>),
    Unregister(&'static str, Option<&'static str>),
    Ping,
    /// Text that is refused wherever it stands, and how (by a stranger, by an identified nsqd).
    Wrong(&'static str, &'static str, &'static str),
    /// An IDENTIFY with this body, which is refused with this.
    WrongBody(&'static str, &'static str),
    /// An IDENTIFY whose length is below zero.
    NegativeBody,
    /// A line without an end.
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

/// How far time goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jump {
    By(Duration),
    /// To where an nsqd is just not yet inactive, plus so many nanoseconds.
    Inactive {
        nsqd: usize,
        past: u64,
    },
    /// To where the last tombstone just still hides, plus so many nanoseconds.
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
            Capacity { registrations: 4 + rng.below(12), per_peer: 2 + rng.below(6) }
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
            8..40 => Step::Say { nsqd, say: say(rng) },
            40..68 => deliver(rng, nsqd),
            68..82 => Step::Commit { shard },
            82..83 => Step::End { nsqd, bytes: rng.pick(&[0, 3, usize::MAX]) },
            83..86 => Step::Reset { nsqd },
            86..88 => Step::Sweep { shard },
            88..96 => return self.ask(rng),
            _ => Step::Jump(jump(rng, nsqd)),
        };
        self.steps.push(step);
    }

    /// A change over HTTP; the edge of a tombstone is near while it is fresh.
    fn ask(&mut self, rng: &mut Rng) {
        let admin = ask(rng);
        let is_tombstone = matches!(admin, Admin::Tombstone(..));
        self.steps.push(Step::Ask(admin));
        if is_tombstone && rng.chance(60) {
            self.steps.push(Step::Jump(Jump::Tombstone { past: rng.pick(&[0, 1, 2]) }));
        }
    }

    /// Mostly an nsqd that behaves: magic, IDENTIFY and a REGISTER, in one segment.
    fn connect(&mut self, rng: &mut Rng) {
        let magic = if rng.chance(95) { "  V1" } else { "  V2" };
        let shard = rng.below(self.shards);
        self.steps.push(Step::Connect { shard, address: rng.below(ADDRESSES.len()), magic });
        // The newest connection: see `World::open`.
        let nsqd = usize::MAX;
        if rng.chance(90) {
            self.steps.push(Step::Say { nsqd, say: Say::Identify(rng.below(3)) });
        }
        if rng.chance(60) {
            let say = Say::Register(rng.pick(&TOPICS), Some(rng.pick(&CHANNELS)));
            self.steps.push(Step::Say { nsqd, say });
        }
        if rng.chance(80) {
            let budget = usize::MAX / 2;
            self.steps.push(Step::Deliver { nsqd, bytes: usize::MAX, budget });
        }
    }
}

fn say(rng: &mut Rng) -> Say {
    let topic = rng.pick(&TOPICS);
    let channel = rng.chance(65).then(|| rng.pick(&CHANNELS));
    match rng.below(100) {
        0..50 => Say::Register(topic, channel),
        50..80 => Say::Unregister(topic, channel),
        80..94 => Say::Ping,
        94..96 => Say::Identify(rng.below(3)),
        96..97 => {
            let (text, stranger, identified) = rng.pick(&WRONG);
            Say::Wrong(text, stranger, identified)
        }
        97..98 => {
            let (body, refusal) = rng.pick(&WRONG_BODIES);
            Say::WrongBody(body, refusal)
        }
        98..99 => Say::NegativeBody,
        _ => Say::LongLine,
    }
}

fn deliver(rng: &mut Rng, nsqd: usize) -> Step {
    let bytes = if rng.chance(50) { usize::MAX } else { rng.below(30) };
    let budget = if rng.chance(85) { usize::MAX / 2 } else { 1 + rng.below(20) };
    Step::Deliver { nsqd, bytes, budget }
}

fn ask(rng: &mut Rng) -> Admin {
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

/// The shortest script that still fails that this finds by leaving steps out: whole runs of them
/// first, then one by one, until nothing can go.
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
