//! Messages meet changes of the subscriptions.

use midge_core::Hooks;
use midge_testkit::{Connect, Kind, Packet, PropsBuf, Subscribe, ack, unsubscribe};
use shuttle::thread;
use std::sync::Arc;

use crate::asking::AsksReceivers;
use crate::explore::explore;
use crate::world::{Client, START, audit, hub, plain_hub, publish};

/// MQTT-3.10.4-2: nothing comes after UNSUBACK, and everything that came before SUBACK's end of the
/// subscription arrived in order.
fn unsubscribe_meets_publish(qos: u8, asks: bool, filter: &'static str) {
    let hooks = asks.then(|| Arc::new(AsksReceivers) as Arc<dyn Hooks>);
    let hub = hub(|_| (), hooks);
    let mut subscriber = Client::subscriber(&hub, "subscriber", filter, 2);
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    for number in 0..3 {
        publisher.say(&publish("t", "before").qos(qos, 100 + number).bytes());
    }

    let publishes = thread::spawn(move || {
        let packets = [1, 2].map(|number| publish("t", number).qos(qos, number).bytes());
        publisher.say(&packets.concat());
        publisher.say(&publish("t", 3).qos(qos, 3).bytes());
        publisher
    });
    subscriber.say(&unsubscribe(5, 2, &PropsBuf::new(), &[filter]));
    let publisher = publishes.join().unwrap();

    let packets = subscriber.packets();
    let unsuback = |packet: &Packet| matches!(packet, Packet::Unsuback(_));
    let at = packets.iter().position(unsuback).expect("UNSUBACK");
    assert_eq!(at + 1, packets.len(), "{:?}", &packets[at..]);
    let seen = subscriber.numbers();
    assert_eq!(seen, [1, 2, 3][..seen.len()]);
    audit(hub, vec![subscriber, publisher]);
}

#[test]
fn nothing_comes_after_unsuback() {
    explore(|| unsubscribe_meets_publish(0, false, "t"));
}

#[test]
fn nothing_comes_after_unsuback_at_qos1() {
    explore(|| unsubscribe_meets_publish(1, false, "t"));
}

#[test]
fn nothing_comes_after_unsuback_of_a_wildcard() {
    explore(|| unsubscribe_meets_publish(0, false, "+"));
}

#[test]
fn nothing_comes_after_unsuback_with_hooks() {
    explore(|| unsubscribe_meets_publish(0, true, "t"));
}

#[test]
fn nothing_comes_after_unsuback_of_a_shared_group() {
    explore(|| unsubscribe_meets_publish(0, false, "$share/g/t"));
}

#[test]
fn nothing_comes_after_unsuback_of_a_shared_group_with_hooks() {
    explore(|| unsubscribe_meets_publish(0, true, "$share/g/t"));
}

/// Members leave a shared group, by `leave`, while messages come: one stays, and no message is lost
/// or delivered twice to those that acknowledged nothing.
fn members_leave(asks: bool, leave: fn(&mut Client)) {
    let hooks = asks.then(|| Arc::new(AsksReceivers) as Arc<dyn Hooks>);
    let hub = hub(|_| (), hooks);
    let [mut one, mut two, stays] = ["one", "two", "stays"]
        .map(|client_id| Client::subscriber(&hub, client_id, "$share/g/t", 1));
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    for number in 1..=3 {
        publisher.say(&publish("t", number).qos(1, number).bytes());
    }

    let leaves = thread::spawn(move || {
        leave(&mut one);
        one
    });
    let publishes = thread::spawn(move || {
        for number in 4..=6 {
            publisher.say(&publish("t", number).qos(1, number).bytes());
        }
        publisher
    });
    leave(&mut two);
    let (one, publisher) = (leaves.join().unwrap(), publishes.join().unwrap());

    let mut seen = stays.numbers();
    if one.link.ended().is_none() {
        // They left the group and stayed connected: what they have is theirs.
        seen.extend(one.numbers());
        seen.extend(two.numbers());
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6], "{:?}", stays.numbers());
    audit(hub, vec![one, two, stays, publisher]);
}

fn breaks(client: &mut Client) {
    client.hub.lost(&client.link, START);
}

fn unsubscribes(client: &mut Client) {
    client.say(&unsubscribe(5, 2, &PropsBuf::new(), &["$share/g/t"]));
}

#[test]
fn messages_of_members_that_end_move() {
    explore(|| members_leave(false, breaks));
}

#[test]
fn messages_of_members_that_end_move_with_hooks() {
    explore(|| members_leave(true, breaks));
}

#[test]
fn messages_of_members_that_unsubscribe_stay() {
    explore(|| members_leave(false, unsubscribes));
}

#[test]
fn messages_of_members_that_unsubscribe_stay_with_hooks() {
    explore(|| members_leave(true, unsubscribes));
}

/// A filter with a subscription replaced while messages come: each comes exactly once.
#[test]
fn a_replaced_subscription_gets_everything_once() {
    explore(|| {
        let hub = plain_hub();
        let mut subscriber = Client::subscriber(&hub, "subscriber", "t", 0);
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));

        let publishes = thread::spawn(move || {
            for number in 1..=3 {
                publisher.say(&publish("t", number).qos(1, number).bytes());
            }
            publisher
        });
        let again = Subscribe::new(2).filter("t", 1).filter("+", 1);
        subscriber.say(&again.bytes());
        for message in subscriber.messages() {
            if message.qos == 1 {
                subscriber.say(&ack(Kind::Puback, message.id));
            }
        }
        let publisher = publishes.join().unwrap();

        assert_eq!(subscriber.numbers(), [1, 2, 3]);
        audit(hub, vec![subscriber, publisher]);
    });
}

/// A message of several publishers reaches all subscribers in one order per publisher.
#[test]
fn publishers_keep_their_own_order() {
    explore(|| {
        let hub = plain_hub();
        let subscribers = ["a", "b"].map(|client_id| Client::subscriber(&hub, client_id, "t", 0));
        let publish_from = |client_id: &'static str, first: u16| {
            let mut client = Client::connect(&hub, &Connect::v5(client_id));
            thread::spawn(move || {
                for number in first..first + 4 {
                    client.say(&publish("t", number).bytes());
                }
                client
            })
        };
        let publishers = [publish_from("one", 10), publish_from("two", 20)];
        let mut clients: Vec<Client> = publishers.map(|p| p.join().unwrap()).into();

        for subscriber in subscribers {
            let seen = subscriber.numbers();
            for of in [10..20, 20..30] {
                let own: Vec<u32> = seen.iter().copied().filter(|n| of.contains(n)).collect();
                assert_eq!(own, (of.start..of.start + 4).collect::<Vec<_>>());
            }
            clients.push(subscriber);
        }
        audit(hub, clients);
    });
}
