//! What an HTTP request costs without its socket: bytes in, bytes out.

mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use musterd::api::Routed;
use musterd::handler::Input;
use musterd::http1::Connection;
use musterd::work::Work;

use support::{Fleet, NOW, REGISTRIES, Static};

/// One request on a keep-alive connection; the size of the response.
fn answer(
    service: &mut Static,
    connection: &mut Connection<Routed>,
    request: &[u8],
    output: &mut Vec<u8>,
) -> usize {
    output.clear();
    let input = Input { bytes: black_box(request), end: false };
    connection.on_input(input, NOW, output, usize::MAX / 2, &mut Work::unlimited(), service);
    output.len()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: lookupd:4161\r\nUser-Agent: go-nsq/1.1.0\r\n\r\n")
        .into()
}

fn routes(c: &mut Criterion) {
    for (name, topics, channels, producers) in REGISTRIES {
        let mut service = Static::new(Fleet::filled(topics, channels, producers));
        let mut group = c.benchmark_group(format!("routes/{name}"));
        let lookup = format!("/lookup?topic=t{}", topics / 2);
        let targets = [("lookup", &*lookup), ("nodes", "/nodes"), ("topics", "/topics")];
        for (route, target) in targets {
            let mut connection = Connection::new(support::address(0), NOW);
            let mut output = Vec::new();
            let request = get(target);
            let size = answer(&mut service, &mut connection, &request, &mut output);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(route, size), |b| {
                b.iter(|| answer(&mut service, &mut connection, &request, &mut output));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = routes
}
criterion_main!(benches);
