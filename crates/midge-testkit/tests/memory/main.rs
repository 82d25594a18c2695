//! What clients can make the broker hold: never more than `limits.total_bytes` and a constant,
//! whatever they do, and nothing of it afterwards. An allocator counts.
//!
//! `MIDGE_MEMORY_STEPS` and `MIDGE_MEMORY_SEED` run it for longer and from another beginning.

// A test that cannot go on fails.
#![allow(clippy::expect_used, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod hostile;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use midge::{HookSet, Hooks, MessageRef, Resolver, Stats, Verdict};
use peak_alloc::PeakAlloc;

use common::{Server, broker_with};
use hostile::{Crowd, Random};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const LIMIT: usize = 6 << 20;
/// What is allocated beyond the budget, at most: `docs/memory.md` has its parts.
const CONSTANT: usize = 6 << 20;
/// What is still allocated when all clients are gone, at most: what the broker keeps to use it again.
const KEPT: usize = 6 << 20;

/// A hook that leaves some questions open, for ever or until it is told to answer.
#[derive(Default)]
struct Slow(Mutex<Vec<Resolver>>);

impl Hooks for Slow {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &midge::ClientInfo, message: &MessageRef<'_>) -> Verdict {
        if !message.topic.starts_with("ask") {
            return Verdict::Allow;
        }
        let (resolver, verdict) = Verdict::defer();
        let mut open = self.0.lock().expect("no panic");
        open.push(resolver);
        if open.len() > 40 {
            open.remove(0).allow();
        }
        verdict
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn until(what: &str, server: &Server, mut done: impl FnMut(&Stats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done(&server.stats()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", server.stats());
        std::thread::yield_now();
    }
}

/// Covers: none
#[test]
fn hostile_clients_stay_within_the_budget_and_leave_nothing() {
    let seed = number("MIDGE_MEMORY_SEED", 1);
    let steps = number("MIDGE_MEMORY_STEPS", 3_000);
    // No other limit is of any help.
    let packet = hostile::PACKET.to_string();
    let options = [
        ("limits.total_bytes", LIMIT.to_string()),
        ("limits.packet_bytes", packet),
        ("limits.receive_maximum", "65535".into()),
    ];
    let server = broker_with(|builder| {
        options
            .iter()
            .fold(builder, |builder, (key, value)| {
                builder.set(key, value).expect("a known option")
            })
            .hooks(Slow::default())
    });
    let mut bystander = server.client("bystander");
    bystander.barrier();
    let start = ALLOCATOR.current_usage();
    let held = server.stats().memory.total;

    let mut crowd = Crowd::new(server.listener(), Random::new(seed));
    let mut most = 0;
    for step in 0..steps {
        ALLOCATOR.reset_peak_usage();
        let what = crowd.step();
        if step % 8 == 0 {
            bystander.barrier();
        }
        let peak = ALLOCATOR.peak_usage().saturating_sub(start + crowd.held());
        if peak > most {
            most = peak;
            println!(
                "step {step}: {what}: {peak} bytes, {:?}",
                server.stats().memory
            );
        }
        assert!(
            peak <= LIMIT + CONSTANT,
            "seed {seed}, step {step}, {what}: {peak} bytes, {:?}",
            server.stats()
        );
    }
    println!("{:?}", server.stats());
    drop(crowd);

    until("closing", &server, |stats| {
        // What still waits for a hook ends with the hook's time.
        server.pass(10);
        stats.connections == 1
    });
    for session in server.sessions() {
        if &*session.client_id != "bystander" {
            server.clear_session(&session.client_id);
        }
    }
    server.clear_retained("#");
    bystander.barrier();
    until("clearing", &server, |stats| stats.memory.total <= held);
    let left = ALLOCATOR.current_usage().saturating_sub(start);
    println!("left: {left} bytes, {:?}", server.stats().memory);
    assert!(left <= KEPT, "seed {seed}: {left} bytes");
}
