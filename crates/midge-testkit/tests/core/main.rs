//! The core without a driver: what the IO of a connection, a store and the host can
//! rely on, byte by byte. No socket, no thread, no clock.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a test may fail

mod chain;
mod counters;
mod ends;
mod events;
mod expiry;
mod fates;
mod hooks;
mod leaks;
mod limits;
mod order;
mod positions;
mod prefixes;
mod replies;
mod rules;
mod world;
