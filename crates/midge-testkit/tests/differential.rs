//! Random scripts that must come to the same on every way through the broker. A long form:
//! `cargo run --release -p midge-testkit --bin differential -- --minutes 60`.

use midge_testkit::differential::differs;

/// Steps of each script.
const STEPS: usize = 120;

#[track_caller]
fn come_to_the_same(seeds: std::ops::Range<u64>) {
    let (mut published, mut received, mut dropped) = (0, 0, 0);
    for seed in seeds {
        let (trace, difference) = differs(seed, STEPS);
        if let Some(told) = difference {
            panic!(
                "seed {seed}, again: cargo run -p midge-testkit --bin differential -- --seed {seed} \
                 --scripts 1 --steps {STEPS}\n{told}"
            );
        }
        published += trace.published;
        received += trace.received;
        dropped += trace.dropped;
    }

    // Scripts that do nothing come to the same.
    assert!(
        published > 10_000 && received > 10_000 && dropped > 1_000,
        "{published} published, {received} received, {dropped} dropped"
    );
}

/// Covers: none
#[test]
fn every_way_through_the_broker_comes_to_the_same() {
    come_to_the_same(0..200);
}
