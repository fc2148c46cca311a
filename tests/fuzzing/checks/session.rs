//! `session`: the replies do not depend on how the input is cut, the limits hold, and nothing is left
//! in the registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use musterd::clock::Timestamp;
use musterd::handler::{CloseReason, ConnectionHandler, Input, Next, Token};
use musterd::limits;
use musterd::session::{Observer, SessionEvent, Sessions, Timeouts};
use musterd::work::Work;

use super::cuts;

struct NullObserver;

impl Observer for NullObserver {
    fn observe(&mut self, _: SocketAddr, _: SessionEvent<'_>) {}
}

pub(crate) fn session(data: &[u8]) {
    let (cuts, bytes) = cuts(data);
    let whole = replies(bytes, &[], usize::MAX / 2);
    assert_eq!(replies(bytes, &cuts, 1), whole, "cut at {cuts:?}");
    // The shortest command that is answered, PING, has five bytes, and its answer six.
    assert!(whole.len() <= bytes.len() * 2 + limits::COMMAND_LINE + 100);
}

/// All replies to `bytes`, which arrive in reads that end at `cuts` before the peer closes.
fn replies(bytes: &[u8], cuts: &[usize], budget: usize) -> Vec<u8> {
    let registry = super::registry();
    let timeouts = Timeouts::with_inactive_timeout(Duration::from_secs(300));
    let identify_response = b"\0\0\0\x02HI"[..].into();
    let mut sessions =
        Sessions::new(Arc::clone(&registry), timeouts, identify_response, NullObserver);
    let now = Timestamp::from_unix_nanos(1);
    let (mut session, _) = sessions.on_open(([127, 0, 0, 1], 5).into(), Token::default(), now);
    let (mut output, mut consumed) = (Vec::new(), 0);
    let reads = cuts.iter().copied().chain([bytes.len()]).map(|read| (read, false));
    'reads: for (read, end) in reads.chain([(bytes.len(), true)]) {
        loop {
            let input = Input { bytes: &bytes[consumed..read.max(consumed)], end };
            let work = &mut Work::units(30);
            let handled = sessions.on_input(&mut session, input, now, &mut output, budget, work);
            consumed += handled.consumed;
            match handled.next {
                Next::Close => break 'reads,
                Next::Read { deadline } => {
                    assert!(deadline > now && !end);
                    assert!(read - consumed <= limits::COMMAND_LINE + 4 + limits::IDENTIFY_BODY);
                    break;
                }
                Next::Write => assert!(output.len() >= budget),
                Next::Continue => assert!(handled.consumed > 0, "it does nothing, again and again"),
                Next::Hold { .. } => panic!("a session holds nothing"),
            }
        }
    }
    while !sessions.on_close(&mut session, CloseReason::Finished, &mut Work::units(30)) {}
    sessions.commit();
    assert_eq!(registry.registrations(), 0);
    registry.snapshots().each_node(|peer| panic!("{peer:?} is left"));
    registry.snapshots().each_topic(|name, topic| {
        assert!(topic.producers().is_empty() && !name.is_ephemeral(), "{name} is left");
    });
    let mut names = Vec::new();
    registry.snapshots().each_topic(|name, _| names.push(name.clone()));
    names.iter().for_each(|name| registry.delete_topic(name.as_str()));
    output
}
