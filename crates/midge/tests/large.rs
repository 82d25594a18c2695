//! Large packets, and what comes in one piece with them.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use common::{client, join, open, publish, subscriber};
use midge::{
    Broker, ClientInfo, ConnectRequest, Deferred, HookSet, Hooks, MessageRef, ReasonCode, Resolver,
    Stop, Verdict,
};
use midge_testkit::{Client, Connect, Publish, Subscribe};

const WAIT: Duration = Duration::from_secs(20);

const PINGREQ: &[u8] = &[0xc0, 0];

fn connect() -> Vec<u8> {
    Connect::new(4, "c").bytes()
}

/// The next packet is the one that `publish` makes.
fn expect(client: &mut Client, fill: u8, size: usize) {
    let message = client.expect_publish();
    assert_eq!((message.topic.as_str(), message.qos), ("t", 0));
    assert_eq!(message.payload.len(), size);
    assert!(message.payload.iter().all(|byte| *byte == fill));
}

#[test]
fn large_and_small_packets_come_in_any_pieces() {
    let broker = Broker::builder().start().unwrap();
    let messages = broker.subscribe("t").unwrap();
    let sizes = [
        0, 40_000, 40_000, 40_000, 5, 100_000, 7, 0, 40_000, 33_000, 20_000, 20_000, 2_000_000,
        2_000_000, 1, 65_533, 65_536, 65_536, 9_000, 9_000, 300_000, 32_760, 32_770,
    ];
    let mut sent = connect();
    for (fill, size) in (0u8..).zip(sizes) {
        sent.extend(publish(fill, size));
    }

    sent.extend_from_slice(PINGREQ);
    for piece in [1_013, 40_003, 65_536, 70_001, usize::MAX] {
        let mut client = open(&broker);
        std::thread::scope(|scope| {
            scope.spawn(|| client.send_in_pieces(&sent, piece));
            for (fill, size) in (0u8..).zip(sizes) {
                let message = messages.recv_timeout(WAIT).unwrap();
                assert_eq!(message.payload().len(), size);
                assert!(message.payload().iter().all(|byte| *byte == fill));
            }
        });
        assert_eq!(client.expect_connack().code, 0);
        client.expect_pingresp();
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
        let mut client = client(&broker, "c");
        client.send(publish(1, 40_000));
        assert_eq!(messages.recv_timeout(WAIT).unwrap().payload().len(), 40_000);
        client.send(bad);
        client.expect_closed(); // without waiting for more
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
        let mut client = open(&broker);
        let subscribe = Subscribe::new(1).filter("u", 0).bytes_for(4);
        let parts = [&connect(), &publish(7, size), &subscribe, PINGREQ];
        client.send(parts.concat());
        answers.recv_timeout(WAIT).unwrap().allow();
        assert_eq!(client.expect_connack().code, 0);
        assert_eq!(client.expect_suback(1).codes, [0]);
        client.expect_pingresp();
        assert_eq!(messages.recv_timeout(WAIT).unwrap().payload().len(), size);
        client.expect_nothing(); // and it is still connected
    }

    let mut refused = open(&broker);
    refused.send([connect(), publish(7, 40_000)].concat());

    let resolver = answers.recv_timeout(WAIT).unwrap();
    resolver.deny(midge::Refusal::new(ReasonCode::NotAuthorized));
    assert_eq!(refused.expect_connack().code, 5);
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
    let mut client = subscriber(&broker, "c", 0);

    let sizes = (0..20_000).map(|at| if at % 100 == 0 { 100_000 } else { at % 1_500 });
    for (at, size) in sizes.clone().enumerate() {
        broker.publish("t", vec![at as u8; size]).unwrap();
        if at % 5_000 == 0 {
            client.send(Publish::new("heard", "").bytes_for(4));
            heard.recv_timeout(WAIT).unwrap();
        }
    }

    for (at, size) in sizes.enumerate() {
        expect(&mut client, at as u8, size);
    }

    broker.stop(Stop::Now).unwrap();
}

/// What was read for one receiver may be written from where it was read: no read may overwrite it
/// before that.
#[test]
fn runs_for_a_receiver_that_reads_late_arrive_unchanged() {
    const SIZE: usize = 4_000;
    const MESSAGES: u8 = 200;

    let broker = Broker::builder().start().unwrap();
    let messages = broker.subscribe("u").unwrap();
    let mut receiver = subscriber(&broker, "c", 0);
    let [mut one, mut other] = ["p", "q"].map(|client_id| client(&broker, client_id));

    for first in (0..MESSAGES).step_by(20) {
        let run: Vec<u8> = (first..first + 20)
            .flat_map(|fill| publish(fill, SIZE))
            .collect();
        let over = Publish::new("u", [0xFF; SIZE]).bytes_for(4).repeat(20);
        one.send(&run);
        other.send(&over);
        for _ in 0..20 {
            let message = messages.recv_timeout(WAIT).unwrap();
            assert!(message.payload().iter().all(|byte| *byte == 0xFF));
        }
    }

    one.expect_nothing();
    for fill in 0..MESSAGES {
        expect(&mut receiver, fill, SIZE);
    }

    broker.stop(Stop::Now).unwrap();
}

/// A client that sends packets of this size without a pause is read far ahead; what is left of such
/// a read, whatever size follows, and what receivers still have of it, stays as it was sent.
#[test]
fn what_is_read_far_ahead_arrives_unchanged_in_whichever_order() {
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
        all.enumerate().map(|(at, size)| ((at % 251) as u8, size))
    };

    let client = |client_id: &str| {
        let client = Client::open(broker.addr().unwrap());
        join(client, &Connect::new(4, client_id)).0
    };

    let mut receivers = ["a", "b"].map(|client_id| {
        let mut receiver = client(client_id);
        receiver.subscribe("t", 0);
        receiver
    });

    let mut publisher = client("p");
    let [keeps_up, late] = &mut receivers;
    std::thread::scope(|scope| {
        scope.spawn(|| messages().for_each(|(fill, size)| expect(keeps_up, fill, size)));
        messages().for_each(|(fill, size)| publisher.send(publish(fill, size)));
        publisher.expect_nothing();
        messages().for_each(|(fill, size)| expect(late, fill, size));
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
    let mut client = Client::open(broker.addr().unwrap());
    let sizes = [3_000, 70_000, 5, 40_000].repeat(40);
    let mut sent = connect();
    for (fill, &size) in (0..).zip(&sizes) {
        sent.extend(publish(fill, size));
    }

    std::thread::scope(|scope| {
        scope.spawn(|| client.send(&sent));
        for (fill, &size) in (0..).zip(&sizes) {
            answers.recv_timeout(WAIT).unwrap().allow();
            let message = received.recv_timeout(WAIT).unwrap();
            assert_eq!(message.payload().len(), size);
            assert!(message.payload().iter().all(|byte| *byte == fill));
        }
    });

    broker.stop(Stop::Now).unwrap();
}
