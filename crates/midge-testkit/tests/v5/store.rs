//! What a store promises to clients.

use std::sync::Arc;
use std::time::Duration;

use midge::{MemoryStore, Stop};
use midge_testkit::store::{Bytewise, Disk, committing, store_suite};
use midge_testkit::{Connect, Kind, Packet, Publish, ack};

use crate::common::{Server, broker_with};

fn server(store: &Arc<MemoryStore>) -> Server {
    broker_with(|builder| builder.store(store.clone()))
}

/// Covers: NN5-149, v5:MQTT-4.3.2-4, v5:MQTT-4.3.3-8
#[test]
fn nn5_149_a_message_is_acknowledged_when_it_is_owned() {
    let sleeper = Connect::v5("sleeper").clean(false).expiry(6000);
    for qos in 1..3 {
        let store = MemoryStore::manual();
        let first = server(&store);
        let (mut watcher, mut publisher) = committing(&store, || {
            let mut client = first.begin(&sleeper);
            client.subscribe("t", 2);
            client.disconnect();
            (first.watcher("t"), first.client("publisher"))
        });
        publisher.send(Publish::new("t", "not committed").qos(qos, 1).bytes());
        watcher.expect_message("t", "not committed");
        first.stop(Stop::Now).expect("a stop");
        while let Some(packet) = publisher.recv_or_end() {
            assert!(
                !matches!(packet, Packet::Ack(_)),
                "{packet:?} before the commit"
            );
        }
        drop(first);

        // With the commit there is an acknowledgement, and the message outlives the broker.
        let second = server(&store);
        committing(&store, || {
            let mut publisher = second.client("publisher");
            publisher.send(Publish::new("t", "committed").qos(qos, 1).bytes());
            let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
            assert_eq!(publisher.expect_ack(kind, 1).code, 0);
        });
        second.stop(Stop::Now).expect("a stop");
        drop(second);
        let third = server(&store);
        committing(&store, || {
            let mut client = third.resume(&sleeper);
            let arrived = client.drain();
            assert!(
                arrived
                    .iter()
                    .any(|message| message.payload == b"committed"),
                "{arrived:?}"
            );
        });
    }
}

/// Covers: NN5-091, NN5-077, v5:MQTT-3.1.2-5, v5:MQTT-3.3.1-13, v5:MQTT-4.3.3-10
#[test]
fn nn5_091_exchanges_are_finished_after_a_restart() {
    let store = MemoryStore::new();
    exchanges_are_finished(|| server(&store));
    let disk = Disk::default();
    exchanges_are_finished(|| broker_with(|builder| builder.store(Bytewise::open(&disk))));
}

fn exchanges_are_finished(server: impl Fn() -> Server) {
    let connect = Connect::v5("client").clean(false).expiry(6000);
    let first = server();
    let mut client = first.begin(&connect);
    client.request(
        &midge_testkit::Subscribe::new(0)
            .filter("t", 0x08 | 2)
            .subscription_id(7),
    );
    client.send(Publish::new("u", "mine").qos(2, 30).bytes());
    client.expect_ack(Kind::Pubrec, 30);
    let mut publisher = first.client("publisher");
    publisher.publish("t", "released", 2);
    publisher.publish("t", "sent", 1);
    let released = client.expect_message("t", "released");
    let sent = client.expect_message("t", "sent");
    client.send(ack(Kind::Pubrec, released.id));
    client.expect_ack(Kind::Pubrel, released.id);
    client.cut();
    publisher.retain("t", "queued", 1);
    first.stop(Stop::Drain(Duration::ZERO)).expect("a stop");
    drop(first);

    let second = server();
    let mut watcher = second.watcher("u");
    let mut client = second.resume(&connect);
    let mut publishes = Vec::new();
    for _ in 0..3 {
        match client.recv() {
            Packet::Ack(release) => {
                assert_eq!((release.kind, release.id), (Kind::Pubrel, released.id));
                client.send(ack(Kind::Pubcomp, released.id));
            }
            Packet::Publish(message) => publishes.push(message),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        publishes[0].dup && publishes[0].id == sent.id,
        "{publishes:?}"
    );

    assert!(!publishes[1].dup && publishes[1].retain, "{publishes:?}");
    for message in &publishes {
        assert_eq!(message.props.subscription_ids(), [7]);
        client.acknowledge(message);
    }
    client.send(Publish::new("u", "mine").qos(2, 30).dup().bytes());
    client.expect_ack(Kind::Pubrec, 30);
    client.send(ack(Kind::Pubrel, 30));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 30).code, 0);
    watcher.expect_nothing();
    // Unknown identifiers are answered all the same.
    client.send(ack(Kind::Pubrel, 31));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 31).code, 0x92);
    client.send(ack(Kind::Pubrec, 32));
    assert_eq!(client.expect_ack(Kind::Pubrel, 32).code, 0x92);
    client.expect_nothing();
}

/// Covers: none
#[test]
fn every_store_passes_the_same_suite() {
    store_suite(|| {
        let store = MemoryStore::new();
        Box::new(move || store.clone())
    });
    store_suite(|| {
        let disk = Disk::default();
        Box::new(move || Bytewise::open(&disk))
    });
}
