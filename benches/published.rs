//! What a read of a published value costs, alone and while writers replace it.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use musterd::cow_set::CowSet;
use musterd::published::{Published, flush};
use musterd::snapshots::Producer;

use support::peer;

type Peers = CowSet<Arc<Producer>>;

fn insert(peers: &mut Peers, peer: &Arc<Producer>) {
    let address = Arc::as_ptr(peer);
    peers.insert(Arc::clone(peer), |other| Arc::as_ptr(other).cmp(&address));
}

fn peers(count: usize) -> Peers {
    let mut peers = Peers::default();
    (0..count).for_each(|number| insert(&mut peers, &peer(number)));
    peers
}

/// A read of one pointer's worth, and a walk of 1,000 peers, while 0, 1 or 2 threads publish.
fn reading(c: &mut Criterion) {
    for (what, size) in [("first", 1), ("walk", 1_000)] {
        let mut group = c.benchmark_group(format!("published/read-{what}"));
        for writers in [0, 1, 2] {
            let published = Arc::new(Published::new(peers(size)));
            let stop = Arc::new(AtomicBool::new(false));
            let writers_at_work: Vec<_> = (0..writers)
                .map(|_| {
                    let (published, stop) = (Arc::clone(&published), Arc::clone(&stop));
                    thread::spawn(move || replace(&published, &stop))
                })
                .collect();
            group.bench_function(BenchmarkId::new("writers", writers), |b| {
                b.iter(|| {
                    published.read(|peers| {
                        peers.iter().fold(0, |sum, peer| sum + black_box(peer).json().len())
                    })
                });
            });
            stop.store(true, Ordering::Relaxed);
            writers_at_work
                .into_iter()
                .for_each(|writer| writer.join().expect("it only publishes"));
        }
    }
}

fn replace(published: &Published<Peers>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        published.publish(published.read(Clone::clone));
    }
    flush();
}

/// A change of a set and its publication: what every commit does to a topic.
fn publishing(c: &mut Criterion) {
    let mut group = c.benchmark_group("published/change");
    for size in [1, 10, 100, 1_000, 10_000] {
        let mut writer = peers(size);
        let published = Published::new(writer.clone());
        let extra = peer(size);
        let address = Arc::as_ptr(&extra);
        group.bench_function(BenchmarkId::new("add-and-remove", size), |b| {
            b.iter(|| {
                insert(&mut writer, &extra);
                published.publish(writer.clone());
                writer.remove(|other| Arc::as_ptr(other).cmp(&address));
                published.publish(writer.clone());
            });
        });
    }
}

criterion_group!(benches, reading, publishing);
criterion_main!(benches);
