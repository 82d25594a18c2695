//! Conformance with MQTT 5.0, statement by statement.
//!
//! A test's `Covers:` line names the statements that it checks; `docs/conformance.md` is made of
//! these lines.

#[path = "../common/mod.rs"]
mod common;

mod access;
mod acks;
mod alias;
mod auth;
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
mod retain;
mod session;
mod shared;
mod subscribe;
mod topics;
mod will;
