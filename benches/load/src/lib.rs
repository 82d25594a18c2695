//! A load generator for MQTT brokers, built to be much cheaper than any of them.
//!
//! One thread, `epoll`, packets that are encoded once and patched in place. Run on one core against
//! a broker on another, it saturates the broker, so that what is read is the broker and not the
//! tool. Every scenario yields one JSON object.
//!
//! It talks to loopback addresses only, and every run is bounded in time.
//!
//! ```text
//! scenario (what is sent, what is asked) -> engine (connections, credit windows, parsing) -> os
//!                                           hist, json (what is reported)
//! ```
//!
//! [`run`] takes the name of a scenario and its [`Args`]; the command `midge-load` is a few lines
//! around it.

mod args;
mod engine;
mod error;
mod hist;
mod json;
mod limit;
mod mqtt;
mod os;
mod scenario;

pub use args::Args;
pub use error::Error;
pub use scenario::{USAGE, run};
