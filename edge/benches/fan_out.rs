//! What one event costs an edge's worker for each of its listeners: encoded once, queued for each, handed to a transport
//! that takes all. Without sockets: a system call for each is what comes on top.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use panda_edge::bench::Listeners;

/// As many bytes as an event with 128 bytes of text has.
const EVENT_BYTES: usize = 220;

fn fan_out(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be made");
    let _within = runtime.enter();
    let mut group = criterion.benchmark_group("fan-out of an event");
    let event = Bytes::from(vec![7; EVENT_BYTES]);
    for count in [1, 10, 100, 1_000, 10_000] {
        let mut listeners = Listeners::of(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("listeners", count), |bench| {
            bench.iter(|| assert_eq!(listeners.deliver(&event, 1), count as u64));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("fan-out of events that came together");
    let mut listeners = Listeners::of(1_000);
    for count in [2, 16] {
        group.throughput(Throughput::Elements(1_000 * count));
        group.bench_function(BenchmarkId::new("events to 1,000 listeners", count), |bench| {
            bench.iter(|| assert_eq!(listeners.deliver(&event, count), 1_000));
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
