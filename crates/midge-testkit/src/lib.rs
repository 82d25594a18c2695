//! A scripted MQTT client for tests: it says exactly what a test tells it to say, right or wrong,
//! and reads what the broker answers with a strict eye.
//!
//! ```text
//!   Connect, Publish, Subscribe, ...   what a test sends     (build, wire)
//!                 |
//!              Client                  one connection        (client, transport)
//!                 |
//!   Packet <- parse <- Ledger          what a test receives  (packet, props, parse, ledger)
//! ```
//!
//! Every packet from the broker passes two checks before a test sees it. `parse` looks at the
//! bytes alone: reserved flags, shortest lengths, legal properties and reason codes, text. The
//! ledger of the connection knows what the client said before: announced limits, open packet
//! identifiers, requests that wait for an answer. A violation fails the test whatever it is about.
//!
//! The wire format is written here a second time on purpose. Shared with the broker's codec, one
//! mistake would hide in both.
//!
//! [`model`] knows which client must, may and must not get what, and [`stress`] runs random clients on several
//! threads against it.
//!
//! Tests never sleep. That something does *not* happen is shown with a barrier, see
//! [`Client::expect_nothing`].

#![forbid(unsafe_code)]
// A test helper tells its findings by a panic.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod build;
mod client;
pub mod differential;
pub mod faulty;
mod ledger;
pub mod model;
mod packet;
mod parse;
#[cfg(unix)]
mod polling;
mod props;
mod reader;
pub mod store;
pub mod stress;
mod transport;
mod wire;

pub use build::{
    Connect, Publish, Subscribe, Will, ack, ack_code, ack_full, auth, disconnect, unsubscribe,
};
pub use client::{Client, DEADLINE};
pub use packet::{Ack, Auth, Codes, Connack, Disconnect, Kind, Message, Packet};
pub use parse::parse;
#[cfg(unix)]
pub use polling::PollingHost;
pub use props::{Prop, Props, Value, id};
pub use transport::Transport;
pub use wire::{PropsBuf, Wire, packet};
