//! `http::turn`: the same answers however a conversation is cut, each of them whole HTTP.

use std::time::Duration;

use musterd::clock::Timestamp;
use musterd::handler::{Input, Next};
use musterd::http::{self, App, Call, Connection, Date, Refusal, Respond, Routes};
use musterd::limits;

use super::cuts;

struct Desk {
    routes: Routes,
    /// What was answered and what was refused, and whether without a body.
    statuses: Vec<(u16, bool)>,
}

impl App for Desk {
    fn date(&mut self) -> Date {
        Date::new(784_111_777)
    }

    fn answer(&mut self, call: &Call<'_>, now: Timestamp, response: &mut impl Respond) {
        self.routes.answer(call, now, response);
    }

    fn answered(&mut self, call: &Call<'_>, status: u16) {
        self.statuses.push((status, call.method == b"HEAD"));
    }

    fn refused(&mut self, refusal: Refusal) {
        self.statuses.push((refusal.status(), false));
    }
}

pub(crate) fn http(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let (output, statuses) = told(bytes, &[], usize::MAX / 2);
    whole(&output, &statuses);
    assert_eq!(told(bytes, &cuts, 1), (output, statuses), "cut at {cuts:?}");
}

/// All that a peer is told which sends `bytes` in reads that end at `cuts`, and then closes.
fn told(bytes: &[u8], cuts: &[usize], budget: usize) -> (Vec<u8>, Vec<(u16, bool)>) {
    let routes = Routes {
        registry: super::registry(),
        inactive_producer_timeout: Duration::from_secs(300),
        tombstone_lifetime: Duration::from_secs(45),
        keep_from: 1,
        metrics: std::sync::Arc::default(),
    };
    let mut desk = Desk { routes, statuses: Vec::new() };
    let now = Timestamp::from_unix_nanos(1);
    let mut connection = Connection::new(now);
    let (mut output, mut consumed) = (Vec::new(), 0);
    let reads = cuts.iter().copied().chain([bytes.len()]).map(|read| (read, false));
    'reads: for (read, end) in reads.chain([(bytes.len(), true)]) {
        loop {
            let input = Input { bytes: &bytes[consumed..read.max(consumed)], end };
            let turn = http::turn(&mut connection, input, now, &mut output, budget, &mut desk);
            consumed += turn.consumed;
            match turn.next {
                Next::Close => break 'reads,
                Next::Read { deadline } => {
                    assert!(deadline > now && !end);
                    assert!(read - consumed <= limits::HTTP_HEAD, "it keeps more than a head");
                    break;
                }
                Next::Write => assert!(output.len() >= budget),
            }
        }
    }
    desk.routes.registry.delete_topic("*");
    (output, desk.statuses)
}

/// The output is one answer for each status, head and body, and nothing else.
fn whole(mut output: &[u8], statuses: &[(u16, bool)]) {
    let mut left = statuses.iter();
    while !output.is_empty() {
        let text = String::from_utf8_lossy(output).into_owned();
        let end = output.windows(4).position(|end| end == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("half a head: {text}")) + 4;
        let head = std::str::from_utf8(&output[..end]).expect("heads are ASCII");
        let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 "));
        let status: u16 = status.expect("a status line")[..3].parse().expect("a number");
        output = &output[end..];
        if status == 100 {
            continue;
        }
        let &(want, is_head) = left.next().expect("an answer to a request");
        assert_eq!(status, want, "{text}");
        let length = head.split_once("Content-Length: ").map(|(_, rest)| rest);
        let length = length.and_then(|rest| rest.lines().next()).map(|digits| digits.parse());
        match length {
            // Only what ends the connection may go without, and says so.
            None => {
                assert!(head.contains("Connection: close") || is_head, "{text}");
                output = if is_head { output } else { &[] };
            }
            Some(length) if !is_head => output = &output[length.expect("a number")..],
            Some(_) => {}
        }
    }
    assert_eq!(left.next(), None, "a request without an answer");
}
