//! What all conformance tests share: a broker in this process, and clients of it.
//!
//! This is the only place where these tests meet the Rust API, apart from hooks.
#![allow(dead_code)] // Each test binary uses its share.

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use midge::{Broker, Builder, Clock};
use midge_testkit::{Client, Connack, Connect};

/// A broker on a port of its own, stopped when dropped. Its clock stands still until a test
/// moves it, so nothing happens by the passing of time.
pub struct Server(Broker);

impl Deref for Server {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.0
    }
}

/// A broker with defaults.
pub fn broker() -> Server {
    broker_with(|builder| builder)
}

/// A broker with these options.
pub fn broker_set(options: &[(&str, &str)]) -> Server {
    broker_with(|builder| {
        options.iter().fold(builder, |builder, (key, value)| {
            builder.set(key, value).expect("a known option")
        })
    })
}

/// A broker that is built as a test wants it.
pub fn broker_with(configure: impl FnOnce(Builder) -> Builder) -> Server {
    let builder = Broker::builder().listen("tcp://127.0.0.1:0").clock(Clock::Manual);
    Server(configure(builder).start().expect("a broker on a free port"))
}

impl Server {
    /// Where the broker listens.
    pub fn listener(&self) -> SocketAddr {
        self.0.addr().expect("a TCP listener")
    }

    /// A connection that has said nothing yet.
    pub fn open(&self) -> Client {
        Client::open(self.listener())
    }

    /// A connection that has sent a CONNECT and got an answer, whatever it says.
    #[track_caller]
    pub fn answer(&self, connect: &Connect) -> (Client, Connack) {
        Client::connect(self.listener(), connect)
    }

    /// A connection that the broker has accepted.
    #[track_caller]
    pub fn connect(&self, connect: &Connect) -> Client {
        let (client, connack) = self.answer(connect);
        assert_eq!(connack.code, 0, "{connack:02x?}");
        client
    }

    /// An accepted connection that found its session.
    #[track_caller]
    pub fn resume(&self, connect: &Connect) -> Client {
        let (client, connack) = self.answer(&connect.clone().clean(false));
        assert!(connack.code == 0 && connack.session_present, "{connack:02x?}");
        client
    }

    /// An accepted connection that found no session.
    #[track_caller]
    pub fn begin(&self, connect: &Connect) -> Client {
        let (client, connack) = self.answer(connect);
        assert!(connack.code == 0 && !connack.session_present, "{connack:02x?}");
        client
    }

    /// A plain MQTT 5 client whose session ends with its connection.
    #[track_caller]
    pub fn client(&self, client_id: &str) -> Client {
        self.connect(&Connect::v5(client_id))
    }

    /// A plain MQTT 5 client that subscribes to one filter with QoS 2.
    #[track_caller]
    pub fn watcher(&self, filter: &str) -> Client {
        let mut client = self.client("watcher");
        client.subscribe(filter, 2);
        client
    }

    /// A connection that sends `first` as its first bytes.
    pub fn say(&self, first: impl AsRef<[u8]>) -> Client {
        let mut client = self.open();
        client.send(first);
        client
    }

    /// Lets seconds pass.
    pub fn pass(&self, seconds: u64) {
        self.pass_ms(seconds * 1000);
    }

    /// Lets milliseconds pass.
    pub fn pass_ms(&self, milliseconds: u64) {
        self.0.clock().advance(Duration::from_millis(milliseconds));
    }
}
