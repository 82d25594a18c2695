//! Conformance with MQTT 5.0, statement by statement.
//!
//! A test's `Covers:` line names the statements that it checks; `docs/conformance.md` is made of
//! these lines.

// A test that cannot go on fails; what it prints is shown when it does.
#![allow(clippy::expect_used, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod access;
mod acks;
mod alias;
mod auth;
mod client_id;
mod connack;
mod connect;
mod disconnect;
mod encoding;
mod errors;
mod expiry;
mod flow;
mod keep_alive;
mod limits;
mod ordering;
mod properties;
mod publish;
mod refusals;
mod retain;
mod session;
mod shared;
mod store;
mod subscribe;
mod tables;
mod topics;
mod will;
