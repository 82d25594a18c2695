//! Large packets, and what comes in one piece with them.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::publish;
use midge::{
    Broker, ClientInfo, ConnectRequest, Deferred, HookSet, Hooks, MessageRef, ReasonCode, Resolver,
    Stop, Verdict,
};

const WAIT: Duration = Duration::from_secs(20);

fn connect(broker: &Broker) -> UnixStream {
    let stream = UnixStream::from(broker.connect_fd().unwrap());
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream
}

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";

fn expect(stream: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == bytes);
}

#[test]
fn large_and_small_packets_come_in_any_pieces() {
    let broker = Broker::builder().start().unwrap();
    let messages = broker.subscribe("t").unwrap();
    let sizes = [
        0, 40_000, 40_000, 40_000, 5, 100_000, 7, 0, 40_000, 33_000, 20_000, 20_000, 2_000_000,
        2_000_000, 1, 65_533, 65_536, 65_536, 9_000, 9_000, 300_000, 32_760, 32_770,
    ];
    let mut sent = CONNECT.to_vec();
    for (fill, size) in (0u8..).zip(sizes) {
        sent.extend(publish(fill, size));
    }

    sent.extend_from_slice(&[0xC0, 0]);
    for piece in [1_013, 40_003, 65_536, 70_001, usize::MAX] {
        let mut stream = connect(&broker);
        let mut writer = stream.try_clone().unwrap();
        let bytes = sent.clone();
        let writing = std::thread::spawn(move || {
            for part in bytes.chunks(piece.min(bytes.len())) {
                writer.write_all(part).unwrap();
            }
        });
        for (fill, size) in (0u8..).zip(sizes) {
            let message = messages.recv_timeout(WAIT).unwrap();
            assert_eq!(message.payload().len(), size);
            assert!(message.payload().iter().all(|byte| *byte == fill));
        }
        expect(&mut stream, &[0x20, 2, 0, 0, 0xD0, 0]);
        writing.join().unwrap();
    }

    broker.stop(Stop::Now).unwrap();
}

#[test]
fn packets_that_are_too_large_or_malformed_are_found_behind_a_large_one() {
    let broker = Broker::builder()
        .set("limits.packet_bytes", "50000")
        .unwrap()
        .start()
        .unwrap();

    for bad in [
        &publish(0, 60_000)[..8],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let messages = broker.subscribe("t").unwrap();
        let mut stream = connect(&broker);
        stream.write_all(CONNECT).unwrap();
        stream.write_all(&publish(1, 40_000)).unwrap();
        expect(&mut stream, &[0x20, 2, 0, 0]);
        assert_eq!(messages.recv_timeout(WAIT).unwrap().payload().len(), 40_000);
        stream.write_all(bad).unwrap();
        assert_eq!(
            stream.read(&mut [0]).unwrap(),
            0,
            "without waiting for more"
        );
    }

    broker.stop(Stop::Now).unwrap();
}

/// Answers authentication later.
struct Later(Mutex<Sender<Resolver>>);

impl Hooks for Later {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, _: &ConnectRequest) -> Verdict {
        let (resolver, deferred) = Deferred::new();
        self.0.lock().unwrap().send(resolver).unwrap();
        Verdict::Defer(deferred)
    }
}

#[test]
fn what_came_with_connect_waits_for_the_answer_of_a_hook() {
    let (asked, answers) = channel();
    let broker = Broker::builder()
        .hooks(Later(Mutex::new(asked)))
        .start()
        .unwrap();
    let messages = broker.subscribe("t").unwrap();
    for size in [10, 32_000, 40_000, 60_000] {
        let mut stream = connect(&broker);
        let subscribe = b"\x82\x06\0\x01\0\x01u\0";
        let parts = [CONNECT, &publish(7, size), subscribe, &[0xC0, 0]];
        stream.write_all(&parts.concat()).unwrap();
        answers.recv_timeout(WAIT).unwrap().allow();
        expect(&mut stream, &[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0, 0xD0, 0]);
        assert_eq!(messages.recv_timeout(WAIT).unwrap().payload().len(), size);
        stream.write_all(&[0xC0, 0]).unwrap();
        expect(&mut stream, &[0xD0, 0]); // and it is still connected
    }

    let mut refused = connect(&broker);
    refused
        .write_all(&[CONNECT, &publish(7, 40_000)].concat())
        .unwrap();

    let resolver = answers.recv_timeout(WAIT).unwrap();
    resolver.deny(midge::Refusal::new(ReasonCode::NotAuthorized));
    expect(&mut refused, &[0x20, 2, 0, 5]);
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn a_client_with_a_backlog_is_heard_and_gets_all_of_it_in_order() {
    let broker = Broker::builder()
        .config(|config| {
            config.limits.session_queue_bytes = 256 << 20;
            config.limits.total_queue_bytes = 256 << 20;
        })
        .start()
        .unwrap();
    let heard = broker.subscribe("heard").unwrap();
    let mut stream = connect(&broker);
    stream.write_all(CONNECT).unwrap();
    stream.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);

    let sizes = (0..20_000).map(|at| if at % 100 == 0 { 100_000 } else { at % 1_500 });
    for (at, size) in sizes.clone().enumerate() {
        broker.publish("t", vec![at as u8; size]).unwrap();
        if at % 5_000 == 0 {
            stream.write_all(b"\x30\x07\0\x05heard").unwrap();
            heard.recv_timeout(WAIT).unwrap();
        }
    }

    for (at, size) in sizes.enumerate() {
        expect(&mut stream, &publish(at as u8, size));
    }

    broker.stop(Stop::Now).unwrap();
}

/// What was read for one receiver may be written from where it was read: nobody may read over it
/// before that.
#[test]
fn runs_for_a_receiver_that_reads_late_arrive_unchanged() {
    const SIZE: usize = 4_000;
    const MESSAGES: u8 = 200;

    let broker = Broker::builder().start().unwrap();
    let messages = broker.subscribe("u").unwrap();
    let mut receiver = connect(&broker);
    receiver.write_all(CONNECT).unwrap();
    receiver.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    expect(&mut receiver, b"\x20\x02\0\0\x90\x03\0\x01\0");

    let [mut one, mut other] = [b'p', b'q'].map(|client_id| {
        let mut publisher = connect(&broker);
        let (_, before) = CONNECT.split_last().unwrap();
        publisher.write_all(before).unwrap();
        publisher.write_all(&[client_id]).unwrap();
        expect(&mut publisher, &[0x20, 2, 0, 0]);
        publisher
    });

    for first in (0..MESSAGES).step_by(20) {
        let run: Vec<u8> = (first..first + 20)
            .flat_map(|fill| publish(fill, SIZE))
            .collect();
        let mut over: Vec<u8> = (0..20).flat_map(|_| publish(0xFF, SIZE)).collect();
        for packet in over.chunks_mut(SIZE + 6) {
            packet[5] = b'u';
        }
        one.write_all(&run).unwrap();
        other.write_all(&over).unwrap();
        for _ in 0..20 {
            let message = messages.recv_timeout(WAIT).unwrap();
            assert!(message.payload().iter().all(|byte| *byte == 0xFF));
        }
    }

    one.write_all(&[0xC0, 0]).unwrap();
    expect(&mut one, &[0xD0, 0]);
    for fill in 0..MESSAGES {
        expect(&mut receiver, &publish(fill, SIZE));
    }

    broker.stop(Stop::Now).unwrap();
}

/// A client that sends packets of this size without a pause is read far ahead; what is left of such
/// a read, whatever size follows, and what receivers still have of it, stays as it was sent.
#[test]
fn what_is_read_far_ahead_arrives_unchanged_whoever_reads_when() {
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .config(|config| {
            config.limits.session_queue_bytes = 256 << 20;
            config.limits.total_queue_bytes = 512 << 20;
        })
        .start()
        .unwrap();
    let sizes = [
        1_000, 2_100, 4_000, 9_000, 40_000, 65_536, 300_000, 700_000, 3,
    ];
    let messages = || {
        let all = sizes.iter().flat_map(|&size| {
            let count = (4 << 20) / (size + 1_000);
            std::iter::repeat_n(size, count)
        });
        all.enumerate()
            .map(|(at, size)| publish((at % 251) as u8, size))
    };

    let client = |client_id: u8| {
        let mut stream = TcpStream::connect(broker.addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let (_, before) = CONNECT.split_last().unwrap();
        stream.write_all(&[before, &[client_id]].concat()).unwrap();
        expect(&mut stream, &[0x20, 2, 0, 0]);
        stream
    };

    let mut receivers = [b'a', b'b'].map(|client_id| {
        let mut receiver = client(client_id);
        receiver.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
        expect(&mut receiver, &[0x90, 3, 0, 1, 0]);
        receiver
    });

    let mut publisher = client(b'p');
    let [keeps_up, late] = &mut receivers;
    std::thread::scope(|scope| {
        scope.spawn(|| messages().for_each(|packet| expect(keeps_up, &packet)));
        messages().for_each(|packet| publisher.write_all(&packet).unwrap());
        publisher.write_all(&[0xC0, 0]).unwrap();
        expect(&mut publisher, &[0xD0, 0]);
        messages().for_each(|packet| expect(late, &packet));
    });

    broker.stop(Stop::Now).unwrap();
}

/// Authorizes every message later.
struct LaterEach(Mutex<Sender<Resolver>>);

impl Hooks for LaterEach {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, _: &MessageRef<'_>) -> Verdict {
        let (resolver, deferred) = Deferred::new();
        self.0.lock().unwrap().send(resolver).unwrap();
        Verdict::Defer(deferred)
    }
}

#[test]
fn all_that_has_been_read_waits_for_the_answers_of_a_hook() {
    let (asked, answers) = channel();
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .hooks(LaterEach(Mutex::new(asked)))
        .start()
        .unwrap();
    let received = broker.subscribe("t").unwrap();
    let mut stream = TcpStream::connect(broker.addr().unwrap()).unwrap();
    let sizes = [3_000, 70_000, 5, 40_000].repeat(40);
    let mut sent = CONNECT.to_vec();
    for (fill, &size) in (0..).zip(&sizes) {
        sent.extend(publish(fill, size));
    }

    std::thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&sent).unwrap());
        for (fill, &size) in (0..).zip(&sizes) {
            answers.recv_timeout(WAIT).unwrap().allow();
            let message = received.recv_timeout(WAIT).unwrap();
            assert_eq!(message.payload().len(), size);
            assert!(message.payload().iter().all(|byte| *byte == fill));
        }
    });

    broker.stop(Stop::Now).unwrap();
}
