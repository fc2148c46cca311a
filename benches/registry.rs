//! What a change of the registry costs that is published at once: the worst case, one nsqd with one
//! command in flight, whose commit publishes nothing else.

mod support;

use std::cell::RefCell;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

use support::{Fleet, topic_name};

/// How many producers the topic has before another registers or leaves.
const WIDTHS: [usize; 4] = [10, 1_000, 10_000, 50_000];

/// One more producer of a topic, and the same one less.
fn wide_topic(c: &mut Criterion) {
    let mut group = c.benchmark_group("registry/wide");
    for width in WIDTHS {
        let fleet = RefCell::new(Fleet::wide(width));
        let extra = RefCell::new(None);
        let identify = || {
            let mut fleet = fleet.borrow_mut();
            extra.take().into_iter().for_each(|old| fleet.leave(old));
            let new = fleet.identify(width + 1);
            fleet.commit();
            new
        };
        group.bench_function(BenchmarkId::new("register", width), |b| {
            b.iter_batched(
                identify,
                |mut client| {
                    let mut fleet = fleet.borrow_mut();
                    fleet.register(&mut client, "t0", Some("c0"));
                    fleet.commit();
                    extra.replace(Some(client));
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("leave", width), |b| {
            b.iter_batched(
                || {
                    let mut client = identify();
                    let mut fleet = fleet.borrow_mut();
                    fleet.register(&mut client, "t0", Some("c0"));
                    fleet.commit();
                    client
                },
                |client| {
                    let mut fleet = fleet.borrow_mut();
                    fleet.leave(client);
                    fleet.commit();
                },
                BatchSize::PerIteration,
            );
        });
        let mut known = fleet.borrow_mut().clients.pop().expect("a fleet is not empty");
        group.bench_function(BenchmarkId::new("register-known", width), |b| {
            b.iter(|| {
                let mut fleet = fleet.borrow_mut();
                fleet.register(&mut known, black_box("t0"), Some("c0"));
                fleet.commit();
            });
        });
    }
}

/// One more topic in a registry that has many.
fn many_topics(c: &mut Criterion) {
    let mut group = c.benchmark_group("registry/topics");
    for topics in [1_000, 100_000, 1_000_000] {
        let mut fleet = Fleet::default();
        let mut owners: Vec<_> = (0..topics / 1_000).map(|number| fleet.identify(number)).collect();
        for number in 0..topics {
            fleet.register(&mut owners[number / 1_000], &topic_name(number), None);
            fleet.commit();
        }
        let mut client = fleet.identify(topics);
        let fleet = RefCell::new(fleet);
        let mut next = topics;
        group.bench_function(BenchmarkId::new("new-topic", topics), |b| {
            b.iter_batched(
                || {
                    // Each new topic replaces an old one, so that the registry keeps its size.
                    if next > topics {
                        fleet.borrow().registry.delete_topic(&topic_name(next));
                    }
                    next += 1;
                    topic_name(next)
                },
                |name| {
                    let mut fleet = fleet.borrow_mut();
                    fleet.register(&mut client, &name, None);
                    fleet.commit();
                    name
                },
                BatchSize::PerIteration,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = wide_topic, many_topics
}
criterion_main!(benches);
