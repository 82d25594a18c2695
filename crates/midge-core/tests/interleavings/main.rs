//! Interleavings found on purpose: `Hub` and `Connection`, driven with bytes from several threads,
//! under a scheduler that decides at each lock and atomic which thread runs next.
//!
//! ```text
//!   tests/interleavings/run.sh [NAME] [--long] [--replay FILE]
//! ```
//!
//! Needs `--cfg shuttle`, which the script sets: without it this target is empty. A scenario is a
//! function that runs from the first to the last step in each iteration; it must be deterministic but
//! for the schedule, and it ends with an audit of what the hub has left behind.

#![cfg(shuttle)]
// Scenarios tell their findings by a panic.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod anything;
mod asking;
mod budget;
mod deferred;
mod delivery;
mod ends;
mod events;
mod expiry;
mod explore;
mod locks;
mod queue;
mod retained;
mod sessions;
mod slices;
mod storage;
mod takeover;
mod wake_ups;
mod world;
