//! What it costs to read a command and to write one.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use musterd::protocol::decode::decode;
use musterd::protocol::peer_info::PeerInfo;

use support::{identify_command, identity};

fn decoding(c: &mut Criterion) {
    let identify = identify_command(7);
    let commands: [(&str, &[u8], bool); 4] = [
        ("ping", b"PING\n", true),
        ("register", b"REGISTER some_topic some_channel\n", true),
        ("register-longest", &longest(), true),
        ("identify", &identify, false),
    ];
    let mut group = c.benchmark_group("protocol/decode");
    for (name, command, identified) in commands {
        group.throughput(Throughput::Bytes(command.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| decode(black_box(command), identified, false).expect("it is valid"));
        });
    }
    let body = &identify[b"IDENTIFY\n".len() + 4..];
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("identity", |b| b.iter(|| PeerInfo::decode(black_box(body))));
}

/// A REGISTER of the longest names.
fn longest() -> Vec<u8> {
    let name = "n".repeat(musterd::limits::NAME);
    let mut command = Vec::new();
    testkit::wire::register(&name, Some(&name), &mut command);
    command
}

fn encoding(c: &mut Criterion) {
    let mut out = Vec::new();
    c.bench_function("protocol/encode/identity", |b| {
        let identity = identity(7);
        b.iter(|| {
            out.clear();
            identity.write_fields(&mut out);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, decoding, encoding);
criterion_main!(benches);
