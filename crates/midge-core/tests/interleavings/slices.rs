//! Large packets and large sessions are handled in slices. Between two of them others come in.

use std::sync::Arc;

use midge_core::Hub;
use midge_testkit::{Connect, Packet, PropsBuf, Subscribe, unsubscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, is_connected, plain_hub, publish};

/// Filters of a packet: more than one slice has.
const FILTERS: usize = 200;
/// One of the first slice and one of the last.
const ENDS: [&str; 2] = ["f/0", "f/199"];

fn filters() -> Vec<String> {
    (0..FILTERS).map(|number| format!("f/{number}")).collect()
}

fn subscribe(id: u16) -> Vec<u8> {
    let all = filters().into_iter();
    let subscribe = all.fold(Subscribe::new(id), |subscribe, filter| {
        subscribe.filter(filter, 1)
    });
    subscribe.bytes()
}

fn unsubscribe_all(id: u16) -> Vec<u8> {
    unsubscribe(5, id, &PropsBuf::new(), &filters())
}

fn persistent() -> Connect {
    Connect::v5("client").clean(false).expiry(100)
}

/// What is published to both ends comes to the client as often as it has the subscription.
fn check_subscriptions(hub: &Arc<Hub>, client: &Client) -> Client {
    let mut publisher = Client::connect(hub, &Connect::v5("checks"));
    for topic in ENDS {
        let before = client.messages().len();
        publisher.say(&publish(topic, "check").bytes());
        let has = hub
            .subscriptions(Some("client"))
            .iter()
            .any(|s| &*s.filter == topic);
        assert_eq!(
            client.messages().len() - before,
            usize::from(has),
            "{topic}"
        );
    }
    let counted = hub.stats(START).subscriptions as usize;
    assert_eq!(counted, hub.subscriptions(None).len());
    publisher
}

/// SUBACK comes before all that the new subscriptions bring, and each topic ends with its newest
/// message.
#[test]
fn a_large_subscribe_meets_publish() {
    explore(|| {
        let hub = plain_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        for topic in ENDS {
            publisher.say(&publish(topic, 1).retain().bytes());
        }
        let mut client = Client::connect(&hub, &persistent());

        let publishes = thread::spawn(move || {
            for topic in ENDS {
                publisher.say(&publish(topic, 2).retain().bytes());
            }
            publisher
        });
        client.say(&subscribe(1));
        let publisher = publishes.join().unwrap();

        let packets = client.packets();
        assert!(matches!(packets[1], Packet::Suback(_)), "{:?}", packets[1]);
        for topic in ENDS {
            let messages = client.messages();
            let of_topic = messages.iter().filter(|message| message.topic == topic);
            let seen: Vec<String> = of_topic.map(midge_testkit::Message::text).collect();
            assert!(seen.is_sorted() && seen.len() <= 2, "{topic}: {seen:?}");
            assert_eq!(seen.last().map(String::as_str), Some("2"), "{topic}");
        }
        let checks = check_subscriptions(&hub, &client);
        audit(hub, vec![client, publisher, checks]);
    });
}

/// Nothing comes after UNSUBACK.
#[test]
fn a_large_unsubscribe_meets_publish() {
    explore(|| {
        let hub = plain_hub();
        let mut client = Client::connect(&hub, &persistent());
        client.say(&subscribe(1));
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));

        let publishes = thread::spawn(move || {
            for topic in ENDS {
                publisher.say(&publish(topic, 1).bytes());
            }
            publisher
        });
        client.say(&unsubscribe_all(2));
        let publisher = publishes.join().unwrap();

        let packets = client.packets();
        assert!(matches!(packets.last(), Some(Packet::Unsuback(_))));
        assert!(hub.subscriptions(None).is_empty());
        audit(hub, vec![client, publisher]);
    });
}

/// The connection is taken over, or the session ends, between two slices: what the session has is
/// what the router knows.
fn a_large_packet_meets(packet: fn(u16) -> Vec<u8>, other: fn(&Arc<Hub>) -> Option<Client>) {
    let hub = plain_hub();
    let mut old = Client::connect(&hub, &persistent());
    if packet(1) != subscribe(1) {
        old.say(&subscribe(1));
    }
    let other_hub = hub.clone();

    let packets = thread::spawn(move || {
        old.say(&packet(1));
        old
    });
    let new = other(&other_hub);
    drop(other_hub);
    let old = packets.join().unwrap();

    let client = new.as_ref().unwrap_or(&old);
    assert_eq!(is_connected(&hub, "client"), client.is_open());
    let checks = client.is_open().then(|| check_subscriptions(&hub, client));
    audit(
        hub,
        [Some(old), new, checks].into_iter().flatten().collect(),
    );
}

fn takes_over(hub: &Arc<Hub>) -> Option<Client> {
    Some(Client::connect(hub, &persistent()))
}

fn ends_session(hub: &Arc<Hub>) -> Option<Client> {
    hub.clear_session("client", START);
    None
}

#[test]
fn a_large_subscribe_meets_a_takeover() {
    explore(|| a_large_packet_meets(subscribe, takes_over));
}

#[test]
fn a_large_unsubscribe_meets_a_takeover() {
    explore(|| a_large_packet_meets(unsubscribe_all, takes_over));
}

#[test]
fn a_large_subscribe_meets_the_end_of_its_session() {
    explore(|| a_large_packet_meets(subscribe, ends_session));
}

/// A session with many messages of a shared group ends in slices: none of them is lost.
#[test]
fn many_messages_move() {
    const MESSAGES: u16 = 300;
    explore(|| {
        let hub = plain_hub();
        hub.on_work(Some(Arc::new(|| ())));
        let mut leaves = Client::connect(&hub, &persistent());
        leaves.say(&Subscribe::new(1).filter("$share/g/t", 1).bytes());
        hub.lost(&leaves.link, START);
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        for number in 1..=MESSAGES {
            publisher.say(&publish("t", number).qos(1, number).bytes());
        }
        let stays = Client::subscriber(&hub, "stays", "$share/g/t", 1);
        let worker = hub.clone();

        let works = thread::spawn(move || while worker.work() {});
        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", MESSAGES + 1).qos(1, 1).bytes());
            publisher
        });
        hub.clear_session("client", START);
        while hub.work() {}
        works.join().unwrap();
        let publisher = publishes.join().unwrap();

        let mut seen = stays.numbers();
        seen.sort_unstable();
        assert!(
            seen.iter().copied().eq(1..=u32::from(MESSAGES) + 1),
            "{}",
            seen.len()
        );
        audit(hub, vec![leaves, stays, publisher]);
    });
}
