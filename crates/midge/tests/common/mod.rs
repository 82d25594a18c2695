//! What several tests share: clients of the testkit, connected without a port.

#![allow(dead_code)] // each of the tests uses its share

use std::os::unix::net::UnixStream;

use midge::Broker;
use midge_testkit::{Client, Connect, Publish};

/// A connection that has said nothing yet.
pub(crate) fn open(broker: &Broker) -> Client {
    Client::over(UnixStream::from(broker.connect_fd().unwrap()))
}

/// Sends CONNECT, which is accepted; whether there is a session.
#[track_caller]
pub(crate) fn join(mut client: Client, connect: &Connect) -> (Client, bool) {
    client.send(connect.bytes());
    let connack = client.expect_connack();
    assert_eq!(connack.code, 0, "{connack:?}");
    (client, connack.session_present)
}

/// A connected 3.1.1 client with a clean session.
#[track_caller]
pub(crate) fn client(broker: &Broker, client_id: &str) -> Client {
    join(open(broker), &Connect::new(4, client_id)).0
}

/// A connected 3.1.1 client that has subscribed to `t`.
#[track_caller]
pub(crate) fn subscriber(broker: &Broker, client_id: &str, qos: u8) -> Client {
    let mut client = client(broker, client_id);
    client.subscribe("t", qos);
    client
}

/// A PUBLISH at QoS 0 to `t` with this many bytes of payload, all of them `fill`.
pub(crate) fn publish(fill: u8, size: usize) -> Vec<u8> {
    Publish::new("t", vec![fill; size]).bytes_for(4)
}
