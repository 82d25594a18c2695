//! Hooks that panic, and hooks that move the clock: what they break is theirs alone.

#![allow(clippy::unwrap_used)] // a test may fail

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::{
    Broker, ClientInfo, Clock, DeliveryVerdict, DisconnectReason, HookSet, Hooks, KeptMessage, QoS,
    Stop,
};

const WAIT: Duration = Duration::from_secs(10);

/// Panics over one client, and moves the clock when another one is gone.
#[derive(Clone, Default)]
struct Careless(Arc<Mutex<Option<Broker>>>);

impl Hooks for Careless {
    fn set(&self) -> HookSet {
        HookSet::LIFE.and(HookSet::INTERCEPT_DELIVERY)
    }

    fn disconnected(&self, client: &ClientInfo, _: &DisconnectReason) {
        assert_ne!(&*client.client_id, "p", "on purpose");
        if &*client.client_id == "m" {
            let broker = self.0.lock().unwrap().clone();
            broker.unwrap().clock().advance(Duration::from_secs(100));
        }
    }

    fn intercept_delivery(&self, client_id: &str, _: &KeptMessage, _: QoS) -> DeliveryVerdict {
        assert_ne!(client_id, "p", "on purpose");
        DeliveryVerdict::Deliver
    }
}

fn start() -> (Broker, Careless) {
    let hooks = Careless::default();
    let broker = Broker::builder()
        .hooks(hooks.clone())
        .clock(Clock::Manual)
        .start()
        .unwrap();
    *hooks.0.lock().unwrap() = Some(broker.clone());
    (broker, hooks)
}

fn stop(broker: &Broker, hooks: &Careless) {
    *hooks.0.lock().unwrap() = None;
    broker.stop(Stop::Now).unwrap();
}

/// A connected 3.1.1 client.
fn client(broker: &Broker, id: u8, keep_alive: u8) -> UnixStream {
    let mut stream = UnixStream::from(broker.connect_fd().unwrap());
    stream.set_read_timeout(Some(WAIT)).unwrap();
    let connect = *b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01";
    stream.write_all(&connect[..11]).unwrap();
    stream.write_all(&[keep_alive, 0, 1, id]).unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0]);
    stream
}

fn subscribe(stream: &mut UnixStream) {
    stream.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    expect(stream, &[0x90, 3, 0, 1, 0]);
}

fn expect(stream: &mut UnixStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

fn is_closed(stream: &mut UnixStream) -> bool {
    stream.read(&mut [0]).unwrap() == 0
}

#[test]
fn a_panic_at_a_deadline_stops_no_other_deadline() {
    let (broker, hooks) = start();
    let mut panics = client(&broker, b'p', 10);
    let mut other = client(&broker, b'o', 20);
    broker.clock().advance(Duration::from_secs(16));
    assert!(is_closed(&mut panics));
    broker.clock().advance(Duration::from_secs(16));
    assert!(is_closed(&mut other));
    assert_eq!(broker.stats().panics, 1);
    stop(&broker, &hooks);
}

#[test]
fn a_panic_over_a_receiver_keeps_the_message_from_that_one_only() {
    let (broker, hooks) = start();
    let retained = broker.message("t").payload("x").retain(true);
    retained.send().unwrap();
    let (mut panics, mut other) = (client(&broker, b'p', 0), client(&broker, b'q', 0));
    for stream in [&mut panics, &mut other] {
        subscribe(stream);
    }
    expect(&mut other, b"\x31\x04\0\x01tx");
    broker.publish("t", "y").unwrap();
    expect(&mut other, b"\x30\x04\0\x01ty");
    panics.write_all(&[0xC0, 0]).unwrap();
    expect(&mut panics, &[0xD0, 0]); // alive, and nothing came before
    assert_eq!(broker.stats().panics, 2);
    stop(&broker, &hooks);
}

#[test]
fn a_hook_that_a_moving_clock_calls_moves_it_further() {
    let (broker, hooks) = start();
    let mut moves = client(&broker, b'm', 10);
    let mut other = client(&broker, b'o', 60);
    broker.clock().advance(Duration::from_secs(16));
    assert_eq!(broker.clock().now(), Duration::from_secs(116));
    assert!(is_closed(&mut moves));
    assert!(is_closed(&mut other), "its keep alive ended on the way");
    stop(&broker, &hooks);
}
