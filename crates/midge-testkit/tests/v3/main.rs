//! Conformance with MQTT 3.1.1 and 3.1, statement by statement, and what goes wrong elsewhere.
//!
//! A test's `Covers:` line names the statements that it checks; `docs/conformance.md` is made of
//! these lines.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail

#[path = "../common/mod.rs"]
mod common;

mod connect;
mod encoding;
mod flow;
mod mixed;
mod older;
mod publish;
mod session;
mod subscribe;
mod traps;
mod will;

use common::Server;
use midge_testkit::{Client, Connect};

/// A 3.1.1 CONNECT with a clean session.
fn v4(client_id: &str) -> Connect {
    Connect::new(4, client_id)
}

/// A connected 3.1.1 client with a clean session.
#[track_caller]
fn old(server: &Server, client_id: &str) -> Client {
    server.connect(&v4(client_id))
}

/// A connected 3.1.1 client that watches a filter.
#[track_caller]
fn watcher(server: &Server, filter: &str) -> Client {
    let mut client = old(server, "watcher");
    client.subscribe(filter, 2);
    client
}
