//! What must hold for any bytes: one check for each room that reads what others wrote.
//!
//! Must not: know where the bytes come from. `tests/fuzzing` draws them from seeds, and the targets
//! of `fuzz/` from a coverage-guided search; a file that one of them found is kept in `fuzz/seeds`.

use std::sync::Arc;

use musterd::registry::{Capacity, Registry};
use musterd::snapshots::Snapshots;

mod config;
mod decode;
mod duration;
mod http;
mod identity;
mod session;

pub(crate) use config::config;
pub(crate) use decode::decode;
pub(crate) use duration::duration;
pub(crate) use http::http;
pub(crate) use identity::identity;
pub(crate) use session::session;

/// Where a conversation is cut into reads: the first byte says how many cuts, as many follow.
fn cuts(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return (Vec::new(), data) };
    let count = usize::from(count % 8).min(rest.len());
    let (places, bytes) = rest.split_at(count);
    let mut cuts: Vec<_> =
        places.iter().map(|&place| usize::from(place) * bytes.len() / 255).collect();
    cuts.sort_unstable();
    (cuts, bytes)
}

/// A small registry that is empty; whoever asks leaves it empty. One for each thread: to make and
/// drop one takes far longer than most conversations.
fn registry() -> Arc<Registry> {
    thread_local! {
        static REGISTRY: Arc<Registry> = Arc::new(Registry::new(
            Arc::new(Snapshots::default()),
            Capacity { registrations: 12, per_peer: 8 },
        ));
    }
    REGISTRY.with(|registry| {
        assert_eq!((registry.names(), registry.registrations()), (0, 0), "something was left");
        Arc::clone(registry)
    })
}
