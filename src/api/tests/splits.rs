//! However requests are cut into reads and writes, the responses are the same.

use proptest::prelude::*;

use super::server::{HttpClient, Server};

/// Good requests, bad ones, and halves.
const PIECES: [&str; 22] = [
    "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /lookup?topic=t HTTP/1.1\nHost: x\n\n",
    "GET /topics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET /PING?a=b&c HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "POST /topic/create?topic=t HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    "POST /channel/create?topic=t&channel=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "3\r\nabc\r\n0\r\n\r\n",
    "3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
    "POST /topic/delete?topic=t HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    "a",
    "\r\n",
    "GET /ping HTTP/1.1\r\nHost: x\r\n",
    "X: y\r\n\r\n",
    "X : y\r\n\r\n",
    " folded\r\n",
    "GET /ping HTTP/1.1\r\n\r\n",
    "GET /p%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /ping HTTP/3.0\r\nHost: x\r\n\r\n",
    "\0\x01garbage\n",
    "Transfer-Encoding: gzip\r\n\r\n",
];

/// The output and the statuses for a client that sends `bytes` in reads that end at `cuts`, and
/// then closes.
fn responses(bytes: &[u8], cuts: &[usize], budget: usize) -> (Vec<u8>, Vec<u16>) {
    let (mut server, mut client) = (Server::new(), HttpClient::new());
    client.budget = budget;
    // What stands in the output already is another's.
    client.output.extend_from_slice(b"before");
    let mut start = 0;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        client.send(&mut server, &bytes[start..cut]);
        start = cut;
    }
    client.end(&mut server);
    assert!(client.closed);
    assert!(client.output.starts_with(b"before"));
    (client.output, server.statuses)
}

proptest! {
    #[test]
    fn any_split_gives_the_same_responses(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        budget in prop_oneof![Just(1), 1usize..500, Just(usize::MAX)],
    ) {
        let bytes = pieces.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(responses(&bytes, &cuts, budget), responses(&bytes, &[], usize::MAX));
        let each: Vec<_> = (0..bytes.len()).collect();
        prop_assert_eq!(responses(&bytes, &each, 1), responses(&bytes, &[], usize::MAX));
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..400), lines in "[ -~\r\n]{0,200}") {
        responses(&bytes, &[], 1);
        responses(lines.as_bytes(), &[], 1);
        let request = format!("GET /lookup?topic=t HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n");
        responses(request.as_bytes(), &[], 1);
    }
}
