//! What one client can do to the others, measured in steps: nothing holds a lock or a thread for more
//! than [`MOST`] of them, whatever a client sends and whatever is stored, at default limits.
//!
//! Steps are counted in debug builds only; in release builds these tests show that everything is
//! answered.

// A test that cannot go on fails.
#![allow(clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::HashSet;

use midge_core::steps::{MOST, take_longest};
use midge_testkit::{Client, Connect, Kind, Packet, Publish, Subscribe, ack, unsubscribe};

use crate::common::{Server, broker, props};

/// Nothing has taken too long so far, in whichever of these tests.
#[track_caller]
fn check() {
    if let Some((section, steps)) = take_longest() {
        assert!(steps <= MOST, "{steps} steps in {section:?}");
    }
}

/// A SUBSCRIBE with some filters at QoS 0.
fn subscribe<F: AsRef<str>>(id: u16, filters: impl IntoIterator<Item = F>) -> Vec<u8> {
    let add = |subscribe: Subscribe, filter: F| subscribe.filter(filter.as_ref(), 0);
    let subscribe = filters.into_iter().fold(Subscribe::new(id), add);
    subscribe.bytes()
}

/// Subscribes to many filters, 1,000 to a packet; all are granted.
#[track_caller]
fn subscribe_all(client: &mut Client, filters: &[String]) {
    for chunk in filters.chunks(1_000) {
        let id = client.fresh_id();
        client.send(subscribe(id, chunk));
        let codes = client.expect_suback(id).codes;
        assert!(codes.len() == chunk.len() && codes.iter().all(|code| *code < 3));
    }
}

fn retain(server: &Server, topic: &str) {
    server
        .set_retained(topic, "r")
        .expect("there is room for it");
}

/// Covers: none
#[test]
fn filters_with_leading_wildcards_over_very_many_retained_messages() {
    const COUNT: usize = 20_000;

    let server = broker();
    for n in 0..COUNT {
        retain(&server, &format!("r{n}/{n}"));
    }

    let mut client = server.client("client");
    for part in 0..COUNT / 1_000 {
        let filters = (0..1_000).map(|n| format!("+/{}", part * 1_000 + n));
        client.send(subscribe(part as u16 + 1, filters));
    }

    let mut topics = HashSet::new();
    let mut answers = 0;
    while answers < COUNT / 1_000 || topics.len() < COUNT {
        match client.recv() {
            Packet::Suback(_) => answers += 1,
            Packet::Publish(message) => assert!(topics.insert(message.topic)),
            other => panic!("{other:?}"),
        }
    }

    check();
}

/// Covers: none
#[test]
fn answers_pile_up_for_a_client_that_does_not_read() {
    let server = broker();
    for n in 0..100 {
        retain(&server, &format!("{n}/r"));
    }

    let mut client = server.client("client");
    for round in 0..10 {
        for part in 0..5 {
            let filters = (0..1_000).map(|n| format!("+/{part}/{n}"));
            client.send(subscribe(part + 1, filters));
            if round % 2 == 1 {
                let filters: Vec<String> = (0..1_000).map(|n| format!("+/{part}/{n}")).collect();
                client.send(unsubscribe(5, part + 100, &props(), &filters));
            }
        }
    }

    client.send(subscribe(900, ["+/r"]));

    let mut found = 0;
    while found < 100 {
        if let Packet::Publish(_) = client.recv() {
            found += 1;
        }
    }

    check();
}

/// Covers: none
#[test]
fn a_message_that_very_many_filters_of_one_client_match() {
    let server = broker();
    let topic = "a/b/c/d/e/f/g/h";
    let pattern = |bits: usize| {
        let levels = topic.split('/').enumerate();
        let level = |(at, level)| if bits >> at & 1 == 1 { "+" } else { level };
        levels.map(level).collect::<Vec<_>>().join("/")
    };

    let mut client = server.client("client");
    let mut granted = 0;
    for bits in 0..256 {
        let request = Subscribe::new(0)
            .filter(pattern(bits), 0)
            .subscription_id(bits + 1);
        match client.request(&request).codes[..] {
            [0] => granted += 1,
            [0x97] => {}
            ref other => panic!("{other:?}"),
        }
    }

    // One of them has no wildcards.
    assert_eq!(granted, 129);
    server.publish(topic, "p").expect("a host may");

    let message = client.receive();
    assert_eq!(message.props.subscription_ids().len(), 129);
    check();
}

/// Covers: none
#[test]
fn very_many_shared_groups_of_one_client() {
    let server = broker();
    let mut client = server.client("client");
    let filters: Vec<String> = (0..1_000).map(|n| format!("$share/n{n}/#")).collect();
    subscribe_all(&mut client, &filters);

    let more = Subscribe::new(0)
        .filter("$share/more/#", 0)
        .filter("more", 0);
    assert_eq!(client.request(&more).codes, [0x97, 0]);
    server.publish("t", "p").expect("a host may");
    for _ in 0..1_000 {
        client.expect_message("t", "p");
    }

    drop(client);

    let mut other = server.client("other");
    other.subscribe("$share/n0/#", 0);
    while server.stats().shared_subscriptions > 1 {
        other.barrier();
    }

    check();
}

/// Covers: none
#[test]
fn filters_of_as_many_levels_as_may_be() {
    let server = broker();
    let mut client = server.client("client");
    let deep = "/x".repeat(126);
    let filters: Vec<String> = (0..1_000).map(|n| format!("f/{n}{deep}")).collect();
    subscribe_all(&mut client, &filters);
    let wild: Vec<String> = (0..1_000).map(|n| format!("+/{n}{deep}")).collect();
    subscribe_all(&mut client, &wild);
    server
        .publish(filters[7].as_str(), "p")
        .expect("a host may");
    client.receive();
    for part in [&filters, &wild] {
        let id = client.fresh_id();
        client.send(unsubscribe(5, id, &props(), part));
        assert_eq!(client.expect_unsuback(id).codes, [0; 1_000]);
    }
    check();
}

/// Covers: none
#[test]
fn tables_grow_bit_by_bit() {
    let server = broker();
    let mut client = server.client("client");
    for wildcard in ["v", "+"] {
        let filters: Vec<String> = (0..20_000)
            .map(|n| format!("a long first level/{n}/{wildcard}"))
            .collect();
        subscribe_all(&mut client, &filters);
    }
    check();
}

/// Covers: none
#[test]
fn the_end_of_a_session_for_which_very_much_waits() {
    const COUNT: u16 = 10_000;

    let server = broker();
    let kept = Connect::v5("kept").clean(false).expiry(60);
    let mut client = server.begin(&kept);
    client.subscribe("t", 1);

    let filters: Vec<String> = (0..5_000).map(|n| format!("f/{n}")).collect();
    subscribe_all(&mut client, &filters);
    client.disconnect();

    let mut publisher = server.client("publisher");
    for id in 1..=COUNT {
        publisher.send(Publish::new("t", "p").qos(1, id).bytes());
    }

    for id in 1..=COUNT {
        publisher.expect_ack(Kind::Puback, id);
    }

    server.pass(61);
    while server.stats().subscriptions > 0 || server.stats().queued_messages > 0 {
        publisher.barrier();
    }

    assert_eq!(server.stats().dropped_total(), u64::from(COUNT));
    check();
}

/// Covers: none
#[test]
fn very_many_retained_messages_that_expire_or_are_cleared() {
    let server = broker();
    let mut publisher = server.client("publisher");
    for n in 0..10_000 {
        let publish = Publish::new(format!("e/{n}"), "r").retain().expiry(5);
        publisher.send(publish.bytes());
        publisher.send(Publish::new(format!("c/{n}"), "r").retain().bytes());
    }
    publisher.barrier();
    server.pass(6);
    assert_eq!(server.stats().retained, 10_000);
    assert_eq!(server.clear_retained("+/#"), 10_000);
    check();
}

/// Covers: none
#[test]
fn very_many_small_packets_in_one_write() {
    let server = broker();
    let mut client = server.client("client");
    client.send([0xC0, 0].repeat(32_000));
    for _ in 0..32_000 {
        client.expect_pingresp();
    }
    check();
}

/// Covers: none
#[test]
fn very_many_acknowledgements_in_one_write() {
    let server = broker();
    let mut client = server.client("client");
    let publish = |id| Publish::new("nothing", "p").qos(2, id).bytes();
    client.send((1..=20_000).flat_map(publish).collect::<Vec<u8>>());
    for id in 1..=20_000 {
        client.expect_ack(Kind::Pubrec, id);
    }
    let release = |id| ack(Kind::Pubrel, id);
    client.send((1..=20_000).flat_map(release).collect::<Vec<u8>>());
    for id in 1..=20_000 {
        client.expect_ack(Kind::Pubcomp, id);
    }
    check();
}

/// Covers: none
#[test]
fn very_many_sessions_in_one_group() {
    let server = broker();
    for n in 0..1_500 {
        let kept = Connect::v5(format!("member-{n}")).clean(false).expiry(600);
        let mut member = server.begin(&kept);
        member.subscribe("$share/g/t", 1);
        member.disconnect();
    }
    for _ in 0..100 {
        server.publish("t", "p").expect("a host may");
    }
    assert_eq!(server.sessions().len(), 1_500);
    check();
}
