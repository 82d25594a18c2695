//! What has expired gives its place before anything living is dropped.

use std::sync::Arc;

use midge::{DropReason, MemoryStore};
use midge_core::{Config, Hub, Overflow, Tick};
use midge_testkit::{Connect, Kind, Packet, Publish, Subscribe, ack};

use crate::world::{Client, START, hub, stored_hub};

/// A client that is away, with one subscription.
fn away(hub: &Arc<Hub>, client_id: &str, filter: &str) -> Connect {
    let connect = Connect::v5(client_id).clean(false).expiry(u32::MAX);
    let mut client = Client::connect(hub, &connect);
    client.say(Subscribe::new(1).filter(filter, 1).bytes());
    client.read();
    client.close();
    connect
}

/// What a client that comes back gets.
fn back(hub: &Arc<Hub>, connect: &Connect, now: Tick) -> Vec<String> {
    let mut client = Client::accept(hub);
    client.say_at(connect.bytes(), now);
    let packets = client.read();
    let message = |packet| match packet {
        Packet::Publish(message) => Some(message.text()),
        _ => None,
    };
    packets.into_iter().filter_map(message).collect()
}

fn publish(topic: &str, text: impl AsRef<[u8]>, expiry: u32) -> Vec<u8> {
    let message = Publish::new(topic, text).qos(1, 1);
    match expiry {
        0 => message.bytes(),
        expiry => message.expiry(expiry).bytes(),
    }
}

const LATER: Tick = START.after_s(10);

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn in_its_own_queue_wherever_it_stands() {
    for fires in [false, true] {
        for overflow in [Overflow::DropNewest, Overflow::DropOldest] {
            let hub = hub(|config| {
                config.limits.session_queue_messages = 10;
                config.overflow.session = overflow;
            });
            let connect = away(&hub, "client", "t");
            let mut publisher = Client::plain(&hub, "publisher");
            publisher.say(publish("t", "lasting", 0));
            for _ in 0..9 {
                publisher.say(publish("t", "short", 1));
            }
            assert_eq!(hub.stats(START).queued_messages, 10);
            if fires {
                hub.fire(LATER);
                let stats = hub.stats(LATER);
                assert_eq!(stats.queued_messages, 1, "nobody has to come for that");
            }

            for number in 0..9 {
                publisher.say_at(publish("t", number.to_string(), 0), LATER);
            }
            let stats = hub.stats(LATER);
            assert_eq!(stats.dropped_by(DropReason::Expired), 9);
            assert_eq!(stats.dropped_total(), 9);
            assert_eq!(stats.queued_messages, 10);
            publisher.say_at(publish("t", "too many", 0), LATER);
            assert_eq!(hub.stats(LATER).dropped_by(DropReason::QueueFull), 1);

            let mut expected: Vec<_> = (0..9).map(|number: u8| number.to_string()).collect();
            match overflow {
                Overflow::DropOldest => expected.push("too many".into()),
                _ => expected.insert(0, "lasting".into()),
            }
            assert_eq!(back(&hub, &connect, LATER), expected);
        }
    }
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn in_the_queues_of_others_when_all_room_is_taken() {
    for fires in [false, true] {
        for overflow in [
            Overflow::DropNewest,
            Overflow::DropOldest,
            Overflow::Disconnect,
        ] {
            let tight = |config: &mut Config| {
                config.limits.total_queue_bytes = 40_000;
                config.overflow.session = overflow;
            };
            let hub = hub(tight);
            let many: Vec<_> = (0..3)
                .map(|number| away(&hub, &format!("away {number}"), "short"))
                .collect();
            let lasting = away(&hub, "lasting", "lasting");
            let connect = away(&hub, "client", "t");
            let mut publisher = Client::plain(&hub, "publisher");
            publisher.say(publish("lasting", "lasting", 0));
            publisher.say(publish("t", "first", 0));
            let mut filled = 0;
            while hub.stats(START).dropped_total() == 0 {
                publisher.say(publish("short", vec![b'x'; 500], 1));
                filled += 1;
            }
            assert!(filled > 5);
            let dropped = hub.stats(START).dropped_by(DropReason::TotalQueueFull);
            if fires {
                hub.fire(LATER);
            }

            for number in 0..20 {
                publisher.say_at(publish("t", number.to_string(), 0), LATER);
            }
            let stats = hub.stats(LATER);
            assert_eq!(
                stats.dropped_by(DropReason::TotalQueueFull),
                dropped,
                "{overflow:?}"
            );
            let expected: Vec<_> = std::iter::once("first".to_owned())
                .chain((0..20).map(|number: u8| number.to_string()))
                .collect();
            assert_eq!(back(&hub, &connect, LATER), expected);
            assert_eq!(back(&hub, &lasting, LATER), ["lasting"]);
            for connect in &many {
                assert!(back(&hub, connect, LATER).is_empty());
            }
            assert_eq!(hub.stats(LATER).queued_messages, 0);
        }
    }
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn room_for_a_qos_0_message_too() {
    let hub = hub(|config| config.limits.total_queue_bytes = 400_000);
    let _away = away(&hub, "away", "short");
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 0).bytes());
    client.read();

    let mut publisher = Client::plain(&hub, "publisher");

    // Enough that what else waits for the client needs room of its own.
    while hub.stats(START).dropped_total() == 0 {
        publisher.say(publish("short", vec![b'x'; 5000], 1));
    }

    let message = Publish::new("t", vec![b'y'; 7000]).bytes();
    let before = hub.stats(START).dropped_total();
    for _ in 0..12 {
        publisher.say_at(&message, LATER);
    }

    assert_eq!(client.texts().len(), 12);

    let stats = hub.stats(LATER);
    assert_eq!(stats.dropped_by(DropReason::TotalQueueFull), before);
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn what_is_in_flight_stays_and_what_waits_for_the_window_goes() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client").receive_maximum(1);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();

    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(
        [
            publish("t", "1", 5),
            publish("t", "2", 5),
            publish("t", "3", 0),
        ]
        .concat(),
    );
    assert_eq!(client.texts(), ["1"]);
    assert_eq!(hub.stats(START).queued_messages, 2);
    hub.fire(LATER);
    assert_eq!(hub.stats(LATER).queued_messages, 1);
    client.say_at(ack(Kind::Puback, 1), LATER);
    assert_eq!(client.texts(), ["3"]);
    assert_eq!(hub.stats(LATER).dropped_by(DropReason::Expired), 1);
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn very_many_expire_bit_by_bit_and_each_at_its_moment() {
    let hub = hub(|_| ());
    let connect = away(&hub, "client", "t");
    let mut publisher = Client::plain(&hub, "publisher");
    for number in 0..3_000_u32 {
        let expiry = 1 + number % 3;
        publisher.say(publish("t", number.to_string(), expiry));
    }

    for (seconds, left) in [(1, 2_000), (2, 1_000), (3, 0)] {
        assert_eq!(hub.next_deadline(), Some(START.after_s(seconds)));
        let at = START.after_s(seconds);
        let mut turns = 0;
        while hub.fire_some(at) {
            turns += 1;
        }
        let waiting = hub.stats(at).queued_messages;
        assert_eq!(
            (waiting, turns),
            (left, 0),
            "few deadlines, each with a part"
        );
    }

    assert_eq!(hub.next_deadline(), None, "nothing is left to look for");
    assert_eq!(hub.stats(START).queued_bytes, 0);
    assert!(back(&hub, &connect, LATER).is_empty());
}

/// Covers: none
#[test]
fn a_session_that_ends_leaves_no_deadline() {
    let hub = hub(|_| ());
    away(&hub, "client", "t");
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(publish("t", "short", 100));
    assert_eq!(hub.next_deadline(), Some(START.after_s(100)));
    assert!(hub.clear_session("client", START));
    assert_eq!(hub.next_deadline(), None);
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn stored_messages_expire_also_after_a_restart() {
    let store = MemoryStore::new();
    let hub = stored_hub(store.clone());
    let connect = away(&hub, "client", "t");
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say([publish("t", "short", 5), publish("t", "lasting", 0)].concat());
    hub.shut_down(START);
    hub.dispose(START);

    let hub = stored_hub(store.clone());
    assert_eq!(hub.stats(START).queued_messages, 2);
    assert_eq!(hub.next_deadline(), Some(START.after_s(5)));
    hub.fire(START.after_s(5));
    assert_eq!(hub.stats(START).queued_messages, 1);
    hub.shut_down(LATER);
    hub.dispose(START);

    // It is not stored any more.
    let hub = stored_hub(store);
    assert_eq!(hub.stats(START).queued_messages, 1);
    assert_eq!(back(&hub, &connect, START), ["lasting"]);
}
