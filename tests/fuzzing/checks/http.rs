//! `http1::Connection` with the API behind it: the same responses however the requests are cut,
//! each of them whole HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::api::{Api, Routed};
use musterd::clock::Timestamp;
use musterd::handler::{Input, Next};
use musterd::http1::{Connection, Date, Request, RequestError, Response, Service, Task};
use musterd::limits;
use musterd::snapshots::Visibility;
use musterd::work::Work;

use super::cuts;

struct Server {
    api: Api,
    /// What was answered and what was refused, and whether without a body.
    statuses: Vec<(u16, bool)>,
}

impl Service for Server {
    type Route = Routed;

    fn date(&mut self) -> Date {
        Date::new(784_111_777)
    }

    fn call(
        &mut self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        self.api.answer(request, now, response)
    }

    fn answered(&mut self, request: &Request<'_, Routed>, _: Timestamp, status: u16) {
        self.statuses.push((status, request.head.method == b"HEAD"));
    }

    fn refused(&mut self, _: SocketAddr, _: Timestamp, error: RequestError, _: &[u8]) {
        self.statuses.push((error.status(), false));
    }
}

pub(crate) fn http(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let (output, statuses) = responses(bytes, &[], usize::MAX / 2);
    whole(&output, &statuses);
    assert_eq!(responses(bytes, &cuts, 1), (output, statuses), "cut at {cuts:?}");
}

/// The output and the statuses for a client that sends `bytes` in reads that end at `cuts`, and
/// then closes.
fn responses(bytes: &[u8], cuts: &[usize], budget: usize) -> (Vec<u8>, Vec<(u16, bool)>) {
    let api = Api {
        registry: super::registry(),
        visibility: Visibility {
            inactive_producer_timeout: Duration::from_secs(300),
            tombstone_lifetime: Duration::from_secs(45),
        },
        cache_from: 1,
        walks: Arc::default(),
        metrics: Arc::default(),
    };
    let mut server = Server { api, statuses: Vec::new() };
    let now = Timestamp::from_unix_nanos(1);
    let mut connection = Connection::new(([127, 0, 0, 1], 1).into(), now);
    let (mut output, mut consumed) = (Vec::new(), 0);
    let reads = cuts.iter().copied().chain([bytes.len()]).map(|read| (read, false));
    'reads: for (read, end) in reads.chain([(bytes.len(), true)]) {
        loop {
            let input = Input { bytes: &bytes[consumed..read.max(consumed)], end };
            let handled = connection.on_input(
                input,
                now,
                &mut output,
                budget,
                &mut Work::units(15),
                &mut server,
            );
            consumed += handled.consumed;
            match handled.next {
                Next::Close => break 'reads,
                Next::Read { deadline } => {
                    assert!(deadline > now && !end);
                    assert!(read - consumed <= limits::HTTP_HEAD, "it keeps more than a head");
                    break;
                }
                Next::Write => assert!(output.len() >= budget),
                Next::Continue => assert!(consumed < read || !end || handled.consumed > 0),
                Next::Hold { .. } => panic!("no route holds"),
            }
        }
    }
    let mut names = Vec::new();
    server.api.registry.snapshots().each_topic(|name, _| names.push(name.clone()));
    names.iter().for_each(|name| server.api.registry.delete_topic(name.as_str()));
    (output, server.statuses)
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
