//! What all conformance tests share: a broker in this process, and clients of it.
//!
//! This is the only place where these tests meet the Rust API, apart from hooks.
#![allow(clippy::print_stdout)] // a child process talks to its parent
#![allow(dead_code, unreachable_pub)] // Each test binary includes it and uses its share.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a test may fail

use std::net::SocketAddr;
use std::ops::Deref;
use std::time::Duration;

use midge::{Broker, Builder, Clock};
use midge_testkit::faulty::{Faults, FaultyTcp};
use midge_testkit::{
    Client, Connack, Connect, Kind, PropsBuf, Publish, Subscribe, Will, ack_full, auth, disconnect,
    unsubscribe,
};

/// A broker on a port of its own, stopped when dropped. Its clock stands still until a test
/// moves it, so nothing happens by the passing of time.
pub struct Server(Broker, Loop);

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

/// Adds a listener: for TCP, or, with MIDGE_TRANSPORT=faulty, one of the testkit's own, whose connections
/// cut bytes anywhere and hesitate: no test of MQTT 5.0 may notice.
fn listening(builder: Builder) -> Builder {
    match std::env::var("MIDGE_TRANSPORT").as_deref() {
        Ok("faulty") => {
            let listener = FaultyTcp::bind(Faults::new(0)).expect("a free port");
            builder.listener_of("faulty", listener)
        }
        Ok(other) => panic!("MIDGE_TRANSPORT takes faulty, not {other}"),
        Err(_) => builder.listen("tcp://127.0.0.1:0"),
    }
}

/// The loop of a host, if it has one.
#[cfg(unix)]
type Loop = Option<midge_testkit::PollingHost>;
#[cfg(not(unix))]
type Loop = ();

/// With MIDGE_THREADS=0 a loop of a host's polls the broker through its descriptor: no test may notice.
fn looping(builder: Builder) -> (Builder, bool) {
    match std::env::var("MIDGE_THREADS").as_deref() {
        Ok("0") => (builder.threads(0), true),
        Ok(other) => panic!("MIDGE_THREADS takes 0, not {other}"),
        Err(_) => (builder, false),
    }
}

#[cfg(unix)]
fn start_loop(broker: &Broker, is_polled: bool) -> Loop {
    is_polled.then(|| midge_testkit::PollingHost::start(broker).expect("a descriptor"))
}

#[cfg(not(unix))]
fn start_loop(_: &Broker, is_polled: bool) -> Loop {
    assert!(!is_polled, "the loop waits for a descriptor");
}

/// A broker that is built as a test wants it.
pub fn broker_with(configure: impl FnOnce(Builder) -> Builder) -> Server {
    let builder = listening(Broker::builder()).clock(Clock::Manual);
    // Updates of $SYS are periodic, and tests let years pass at once.
    let builder = builder.set("sys.interval_s", "0").expect("a known option");
    let (builder, is_polled) = looping(configure(builder));
    let broker = builder.start().expect("a broker on a free port");
    let host = start_loop(&broker, is_polled);
    Server(broker, host)
}

impl Drop for Server {
    fn drop(&mut self) {
        // The broker survives a panic of its own; a test must not.
        let panics = self.0.stats().panics;
        assert!(
            panics == 0 || std::thread::panicking(),
            "{panics} panics in the broker"
        );
    }
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
        assert!(
            connack.code == 0 && connack.session_present,
            "{connack:02x?}"
        );
        client
    }

    /// An accepted connection that found no session.
    #[track_caller]
    pub fn begin(&self, connect: &Connect) -> Client {
        let (client, connack) = self.answer(connect);
        assert!(
            connack.code == 0 && !connack.session_present,
            "{connack:02x?}"
        );
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

/// No properties yet.
pub fn props() -> PropsBuf {
    PropsBuf::new()
}

/// The packets of a client that have properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Connect,
    Will,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

impl Holder {
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Will,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Auth,
    ];

    /// Properties that the packet may have.
    pub fn allowed(self) -> &'static [u8] {
        match self {
            Self::Connect => &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
            Self::Will => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
            Self::Publish => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
            Self::Puback | Self::Pubrec | Self::Pubrel | Self::Pubcomp => &[0x1f, 0x26],
            Self::Subscribe => &[0x0b, 0x26],
            Self::Unsubscribe => &[0x26],
            Self::Disconnect => &[0x11, 0x1f, 0x26],
            Self::Auth => &[0x15, 0x16, 0x1f, 0x26],
        }
    }

    /// The packet with these properties, legal in all other respects.
    pub fn packet(self, properties: &PropsBuf) -> Vec<u8> {
        let connect = || Connect::v5("holder").keep_alive(60);

        match self {
            Self::Connect => connect().props(properties.clone()).bytes(),
            Self::Will => connect()
                .will(Will::new("will", "w").props(properties.clone()))
                .bytes(),
            Self::Publish => Publish::new("t", "p").props(properties.clone()).bytes(),
            Self::Puback => ack_full(Kind::Puback, 1, 0, properties),
            Self::Pubrec => ack_full(Kind::Pubrec, 1, 0, properties),
            Self::Pubrel => ack_full(Kind::Pubrel, 1, 0, properties),
            Self::Pubcomp => ack_full(Kind::Pubcomp, 1, 0, properties),
            Self::Subscribe => Subscribe::new(1)
                .filter("t", 0)
                .props(properties.clone())
                .bytes(),
            Self::Unsubscribe => unsubscribe(5, 1, properties, &["t"]),
            Self::Disconnect => disconnect(0, properties),
            Self::Auth => auth(0x19, properties),
        }
    }
}

impl Server {
    /// Sends a packet that has to be refused with one of these codes: in place of a CONNECT, or on
    /// a connection that works.
    #[track_caller]
    pub fn refuses(&self, holder: Holder, packet: &[u8], codes: &[u8]) {
        if matches!(holder, Holder::Connect | Holder::Will) {
            self.say(packet).expect_closed_with(codes);
        } else {
            let mut client = self.client("refused");
            client.send(packet);
            client.expect_disconnect_of(codes);
        }
    }
}
