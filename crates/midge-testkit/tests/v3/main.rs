//! Conformance with MQTT 3.1.1 and 3.1, statement by statement.
//!
//! A test's `Covers:` line names the statements that it checks; `docs/conformance.md` is made of
//! these lines.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail

#[path = "../common/mod.rs"]
mod common;

mod acks;
mod connack;
mod connect;
mod differences;
mod errors;
mod flags;
mod keep_alive;
mod ordering;
mod publish;
mod retain;
mod session;
mod subscribe;
mod takeover;
mod topics;
mod transports;
mod traps;
mod unsubscribe;
mod will;

use midge_testkit::{Client, Connect};

use crate::common::Server;

/// A CONNECT of 3.1.1 with a clean session.
fn v311(client_id: &str) -> Connect {
    Connect::new(4, client_id)
}

/// A CONNECT of 3.1.1 whose session stays.
fn kept(client_id: &str) -> Connect {
    v311(client_id).clean(false)
}

/// A connected 3.1.1 client with a clean session.
#[track_caller]
fn client(server: &Server, client_id: &str) -> Client {
    server.connect(&v311(client_id))
}

/// A 3.1.1 client that subscribes to one filter with QoS 2.
#[track_caller]
fn watcher(server: &Server, filter: &str) -> Client {
    let mut client = client(server, "watcher");
    client.subscribe(filter, 2);
    client
}

/// A connected client sends these bytes and is closed without any answer.
#[track_caller]
fn closes(server: &Server, bytes: impl AsRef<[u8]>) {
    let mut client = client(server, "closes");
    client.send(bytes);
    client.expect_closed();
}

/// Strings that are no well-formed UTF-8: a lone continuation, surrogates of both kinds, an
/// overlong form, a value above U+10FFFF, a sequence without its end.
const ILL_FORMED: [&[u8]; 7] = [
    b"a\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xc0\xaf",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\xff",
];

/// U+0000, in the short and in the "modified" form.
const NUL: [&[u8]; 3] = [b"\0", b"a\0b", b"a\xc0\x80"];
