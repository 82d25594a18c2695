//! What is known to go wrong in brokers, each as a test of its own.
//!
//! `delivery`, `requests`, `options` and `host` are mistakes that were seen in other brokers,
//! `inside` is what a design like this one may get wrong, `brokers` and `observers` what it may get
//! wrong towards its host, and `mixed` has clients of all versions on one port.

// A test that cannot go on fails.
// A test that cannot go on fails; what it prints is shown when it does.
#![allow(clippy::expect_used, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;

mod brokers;
mod delivery;
mod host;
mod inside;
mod memory;
mod mixed;
mod observers;
mod options;
mod requests;
mod together;

use midge_testkit::{Client, Connect};

use crate::common::Server;

/// The versions of the protocol: 3.1, 3.1.1, 5.
const VERSIONS: [u8; 3] = [3, 4, 5];

/// A CONNECT whose session outlives its connection, in any version.
fn kept(version: u8, client_id: &str) -> Connect {
    let connect = Connect::new(version, client_id).clean(false);
    if version == 5 {
        connect.expiry(u32::MAX)
    } else {
        connect
    }
}

/// A connected client of any version with a clean session.
#[track_caller]
fn client(server: &Server, version: u8, client_id: &str) -> Client {
    server.connect(&Connect::new(version, client_id))
}

/// The end of a connection by the broker: DISCONNECT with one of these codes, or without a word
/// before version 5.
#[track_caller]
fn ended(client: &mut Client, codes: &[u8]) {
    if client.version() == 5 {
        client.expect_disconnect_of(codes);
    } else {
        client.expect_closed();
    }
}
