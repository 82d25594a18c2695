//! Clients that are silent for too long, and those that only seem to be. The broker runs only when a test has it run,
//! as if the process had been paused in between, and its clock only moves when a test moves it.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::publish;
use midge::{Broker, Clock, DisconnectReason, Event, EventMask, MemoryStream, Stats};
use midge_testkit::Connect;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Runtime;

/// A broker that runs when it is told to.
struct Paused {
    runtime: Runtime,
    broker: Broker,
}

impl Paused {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(options: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let builder = Broker::builder()
            .runtime(runtime.handle().clone())
            .listen("tcp://127.0.0.1:0")
            .clock(Clock::Manual);
        let set = |builder: midge::Builder, (key, value): &(&str, &str)| builder.set(key, value);
        let builder = options.iter().try_fold(builder, set).unwrap();
        let broker = builder.start().unwrap();
        Self { runtime, broker }
    }

    /// Lets it run until its counters are so.
    fn run_until(&self, done: impl Fn(&Stats) -> bool) {
        self.runtime.block_on(async {
            while !done(&self.broker.stats()) {
                tokio::task::yield_now().await;
            }
        });
    }

    /// Lets it do what there is to do.
    fn run(&self) {
        self.runtime.block_on(async {
            for _ in 0..500 {
                tokio::task::yield_now().await;
            }
        });
    }

    fn pass(&self, ms: u64) {
        self.broker.clock().advance(Duration::from_millis(ms));
    }

    fn connected(&self) -> Vec<String> {
        let clients = self.broker.clients();
        let mut ids: Vec<String> = clients
            .iter()
            .map(|c| c.info.client_id.to_string())
            .collect();
        ids.sort();
        ids
    }

    /// A client that connects and is accepted.
    fn accept(&self, mut client: impl Client, id: &str, keep_alive: u16) -> impl Client {
        client.send(&connect(id, keep_alive));
        let known = self.broker.stats().clients;
        self.run_until(|stats| stats.clients > known);
        assert_eq!(client.receive(4), CONNACK);
        client
    }

    fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.broker.addr().unwrap()).unwrap()
    }

    fn unix(&self) -> UnixStream {
        UnixStream::from(self.broker.connect_fd().unwrap())
    }

    fn memory(&self) -> MemoryStream {
        self.broker.connect_in_memory().unwrap()
    }
}

/// The client's end of a connection, whatever it is.
trait Client {
    fn send(&mut self, bytes: &[u8]);
    fn receive(&mut self, count: usize) -> Vec<u8>;
}

macro_rules! socket_client {
    ($socket:ty) => {
        impl Client for $socket {
            fn send(&mut self, bytes: &[u8]) {
                self.write_all(bytes).unwrap();
            }

            fn receive(&mut self, count: usize) -> Vec<u8> {
                let mut bytes = vec![0; count];
                self.read_exact(&mut bytes).unwrap();
                bytes
            }
        }
    };
}

socket_client!(TcpStream);
socket_client!(UnixStream);

/// What is there and fits goes through at once.
impl Client for MemoryStream {
    fn send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let written = pin!(self).poll_write(&mut cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()));
    }

    fn receive(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(self).poll_read(&mut cx, &mut buffer).is_ready());
        assert_eq!(buffer.filled().len(), count);
        bytes
    }
}

/// CONNECT of 3.1.1.
fn connect(client_id: &str, keep_alive: u16) -> Vec<u8> {
    Connect::new(4, client_id).keep_alive(keep_alive).bytes()
}

/// The answer to it.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGREQ: &[u8] = &[0xC0, 0];
const PINGRESP: &[u8] = &[0xD0, 0];

#[test]
fn what_lies_unread_is_read_before_anybody_is_called_silent() {
    let paused = Paused::new();
    let mut tcp = paused.accept(paused.tcp(), "a", 2);
    let mut unix = paused.accept(paused.unix(), "b", 2);
    let mut memory = paused.accept(paused.memory(), "c", 2);
    let _silent = paused.accept(paused.tcp(), "d", 2);
    let (_unheard, mut leaving) = (
        paused.accept(paused.memory(), "e", 2),
        paused.accept(paused.unix(), "f", 2),
    );
    let events = paused
        .broker
        .events_with(EventMask::CLIENT_DISCONNECTED, 16);

    // Nothing runs from here on.
    tcp.send(PINGREQ);
    unix.send(PINGREQ);
    memory.send(PINGREQ);
    leaving.send(&[0xE0, 0]);
    paused.pass(60_000);
    // A client that has sent nothing is ended at once, and at its own moment.
    assert_eq!(paused.connected(), ["a", "b", "c", "f"]);
    paused.run();
    assert_eq!(paused.connected(), ["a", "b", "c"]);
    assert_eq!(tcp.receive(2), PINGRESP);
    assert_eq!(unix.receive(2), PINGRESP);
    assert_eq!(memory.receive(2), PINGRESP);
    let mut ends = Vec::new();
    while let Some(observed) = events.try_recv() {
        if let Event::ClientDisconnected {
            client_id, reason, ..
        } = observed.event
        {
            ends.push((client_id.to_string(), reason));
        }
    }
    let silent = DisconnectReason::KeepAliveTimeout;
    assert_eq!(
        ends[..2],
        [("d".into(), silent.clone()), ("e".into(), silent)]
    );
    assert!(matches!(ends[2], (_, DisconnectReason::ByClient(_))));

    // From then on their time runs anew.
    paused.pass(2_999);
    assert_eq!(paused.connected(), ["a", "b", "c"]);
    paused.pass(1);
    assert!(paused.connected().is_empty());
}

#[test]
fn a_connect_that_lies_unread_is_in_time() {
    let paused = Paused::new();
    let (mut tcp, mut memory) = (paused.tcp(), paused.memory());
    let (_silent, mut part) = (paused.tcp(), paused.unix());
    paused.run_until(|stats| stats.connections == 4);
    tcp.send(&connect("a", 0));
    memory.send(&connect("b", 0));
    part.send(&connect("c", 0)[..5]);
    paused.pass(3_600_000);
    paused.run_until(|stats| stats.connections == 2);
    assert_eq!(paused.connected(), ["a", "b"]);
    assert_eq!(tcp.receive(4), CONNACK);
    assert_eq!(memory.receive(4), CONNACK);
    assert_eq!(part.read(&mut [0; 4]).unwrap(), 0);
}

#[test]
fn a_byte_that_is_no_packet_buys_no_time() {
    let paused = Paused::new();
    let mut tcp = paused.accept(paused.tcp(), "a", 2);
    let mut memory = paused.accept(paused.memory(), "b", 2);
    tcp.send(&PINGREQ[..1]);
    memory.send(&PINGREQ[..1]);
    paused.pass(60_000);
    paused.run();
    assert!(paused.connected().is_empty());
}

#[test]
fn a_client_that_is_gone_has_left_and_was_not_silent() {
    let paused = Paused::new();
    let gone = [
        drop(paused.accept(paused.tcp(), "a", 2)),
        drop(paused.accept(paused.memory(), "b", 2)),
    ];
    let events = paused
        .broker
        .events_with(EventMask::CLIENT_DISCONNECTED, 16);
    paused.pass(60_000);
    paused.run();
    for () in gone {
        let observed = events.try_recv().unwrap();
        let Event::ClientDisconnected { reason, .. } = observed.event else {
            panic!("{observed:?}");
        };
        assert_eq!(reason, DisconnectReason::ConnectionLost);
    }
}

/// Sends a packet in pieces of a size, 2.9 seconds each. Whether the client got to its end.
fn upload(paused: &Paused, client: &mut impl Client, packet: &[u8], piece: usize) -> bool {
    for part in packet.chunks(piece) {
        let expected = paused.broker.stats().bytes_received + part.len() as u64;
        client.send(part);
        paused.run_until(|stats| stats.bytes_received == expected);
        paused.run();
        paused.pass(2_900);
        if paused.connected().is_empty() {
            return false;
        }
    }
    true
}

#[test]
fn a_packet_that_arrives_slowly_keeps_its_client_alive() {
    // In the buffer of the thread, and in one of its own.
    for (size, piece) in [(10_000, 400), (300_000, 10_000)] {
        let paused = Paused::new();
        let subscription = paused.broker.subscribe("t").unwrap();
        let mut client = paused.accept(paused.tcp(), "a", 2);
        assert!(upload(&paused, &mut client, &publish(b'x', size), piece));
        assert_eq!(subscription.try_recv().unwrap().payload().len(), size);
        // The whole packet counts as ever.
        paused.pass(99);
        assert_eq!(paused.connected(), ["a"]);
        paused.pass(1);
        assert!(paused.connected().is_empty());
    }
}

#[test]
fn a_packet_that_arrives_too_slowly_does_not() {
    for (size, piece) in [(10_000, 100), (300_000, 100), (10_000, 1)] {
        let paused = Paused::new();
        let mut client = paused.accept(paused.tcp(), "a", 2);
        assert!(!upload(&paused, &mut client, &publish(b'x', size), piece));
    }
    // What came fast before is not saved up.
    let paused = Paused::new();
    let mut client = paused.accept(paused.tcp(), "a", 2);
    let packet = publish(b'x', 300_000);
    let (much, rest) = packet.split_at(250_000);
    for (at, part) in much.chunks(10_000).enumerate() {
        client.send(part);
        paused.run_until(|stats| stats.bytes_received >= 10_000 * (at as u64 + 1));
    }
    let uploaded = upload(&paused, &mut client, rest, 10);
    assert!(!uploaded);
}

#[test]
fn the_rate_is_an_option() {
    let paused = Paused::with(&[("limits.arrival_rate", "0")]);
    let mut client = paused.accept(paused.tcp(), "a", 2);
    assert!(upload(&paused, &mut client, &publish(b'x', 20), 1));
    let paused = Paused::with(&[("limits.arrival_rate", "1000")]);
    let mut client = paused.accept(paused.tcp(), "a", 2);
    assert!(!upload(&paused, &mut client, &publish(b'x', 10_000), 400));
}

/// Sends PINGREQs until nothing more is taken, because no answer is.
fn fill(paused: &Paused, client: &mut UnixStream) {
    client.set_nonblocking(true).unwrap();
    let pings = PINGREQ.repeat(4096);
    loop {
        let mut any = false;
        loop {
            match client.write(&pings) {
                Ok(_) => any = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if !any {
            return;
        }
        paused.run();
    }
}

#[test]
fn a_client_that_is_not_read_lives_as_long_as_it_takes_its_answers() {
    let paused = Paused::new();
    let mut client = paused.unix();
    client.send(&connect("a", 2));
    paused.run_until(|stats| stats.clients == 1);
    fill(&paused, &mut client);
    for _ in 0..3 {
        // It is slow, but it reads: one socket full at a time.
        let sent = paused.broker.stats().bytes_sent;
        let mut buffer = vec![0; 16 * 1024];
        while paused.broker.stats().bytes_sent == sent {
            let _ = client.read(&mut buffer);
            paused.run();
        }
        paused.pass(3_100);
        paused.run();
        assert_eq!(paused.connected(), ["a"]);
        fill(&paused, &mut client);
    }

    paused.pass(3_100);
    paused.run();
    assert!(paused.connected().is_empty());
}

#[test]
fn a_client_that_says_nothing_was_not_refused() {
    let paused = Paused::new();
    let events = paused.broker.events_with(EventMask::CONNECTION_REFUSED, 16);
    for connects in 1..=3 {
        drop(paused.tcp());
        drop(paused.memory());
        paused.run_until(|stats| stats.connects == 2 * connects && stats.connections == 0);
    }
    assert!(events.is_empty() && paused.broker.stats().refused == 0);
    let mut client = paused.tcp();
    client.send(&[0x10]);
    drop(client);
    paused.run_until(|stats| stats.refused == 1);
    assert_eq!(events.len(), 1);
}
