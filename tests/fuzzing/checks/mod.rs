//! The properties that hold for any bytes: one check for each parser of input from outside.
//!
//! Must not: know where the bytes come from. `tests/fuzzing` draws them from seeds, the targets of
//! `fuzz/` from a coverage-guided search; an input that found a bug is stored in `fuzz/seeds`.

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

/// Where the input is cut into reads: the first byte is the number of cuts, as many bytes follow.
fn cuts(data: &[u8]) -> (Vec<usize>, &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return (Vec::new(), data) };
    let count = usize::from(count % 8).min(rest.len());
    let (places, bytes) = rest.split_at(count);
    let mut cuts: Vec<_> =
        places.iter().map(|&place| usize::from(place) * bytes.len() / 255).collect();
    cuts.sort_unstable();
    (cuts, bytes)
}

/// A small empty registry, which the caller leaves empty. One for each thread, since making one takes
/// far longer than most sessions.
fn registry() -> Arc<Registry> {
    thread_local! {
        static REGISTRY: Arc<Registry> = Arc::new(Registry::new(
            Arc::new(Snapshots::default()),
            Capacity { registrations: 12, per_nsqd: 8, http_names: 4 },
        ));
    }
    REGISTRY.with(|registry| {
        assert_eq!(
            (registry.topics(), registry.channels(), registry.registrations()),
            (0, 0, 0),
            "the last check left something"
        );
        Arc::clone(registry)
    })
}
