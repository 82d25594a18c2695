//! A few seconds of the stress, with fixed seeds, so that each run does the same as far as threads
//! allow. Hours of it: `cargo run --release -p midge-testkit --bin stress -- --threads 2 --minutes 60`.

use midge_testkit::model::Checks;
use midge_testkit::stress::{Place, Script, Setup, run};

#[track_caller]
fn no_findings(place: Place, threads: usize, seeds: std::ops::Range<u64>) {
    let setup = Setup::new(place, threads);
    let (mut received, mut takeovers) = (0, 0);

    for seed in seeds {
        let report = run(&Script::new(seed, &setup), place, &Checks::all());
        received += report.received;
        takeovers += report.takeovers;

        let findings: Vec<String> = report
            .findings
            .iter()
            .take(3)
            .map(ToString::to_string)
            .collect();
        assert!(
            findings.is_empty(),
            "seed {seed}, again: {}\n{}",
            setup.again(seed),
            findings.join("\n")
        );
    }

    // A script that does nothing finds nothing.
    assert!(
        received > 100 && takeovers > 10,
        "{received} received, {takeovers} takeovers"
    );
}

/// Covers: none
#[test]
fn one_thread_on_the_core() {
    no_findings(Place::Core, 1, 0..120);
}

/// Covers: none
#[test]
fn two_threads_on_the_core() {
    no_findings(Place::Core, 2, 1_000..1_050);
}

/// Covers: none
#[test]
fn four_threads_on_the_core() {
    no_findings(Place::Core, 4, 2_000..2_020);
}

/// Covers: none
#[test]
fn a_broker_with_one_thread() {
    no_findings(Place::Threads(1), 2, 3_000..3_015);
}

/// Covers: none
#[test]
fn a_broker_with_two_threads() {
    no_findings(Place::Threads(2), 2, 4_000..4_015);
}

/// Covers: none
#[test]
fn a_broker_with_four_threads() {
    no_findings(Place::Threads(4), 4, 5_000..5_010);
}

/// Covers: none
#[test]
fn a_broker_on_a_runtime_of_one_thread() {
    no_findings(Place::HostOfOne, 2, 6_000..6_015);
}

/// Covers: none
#[test]
fn a_broker_on_a_runtime_of_two_threads() {
    no_findings(Place::HostOfMany, 2, 7_000..7_015);
}
