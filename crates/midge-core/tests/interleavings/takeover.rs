//! A client connects again while another thread still serves its old connection.

use std::sync::Arc;

use midge_core::Hooks;
use midge_testkit::{Connect, Kind, PropsBuf, ack, disconnect, id};
use shuttle::thread;

use crate::asking::AsksReceivers;
use crate::explore::explore;
use crate::world::{Client, audit, hub, is_connected, plain_hub, publish};

const PERSISTENT: u32 = 100;

fn publisher() -> Connect {
    Connect::v5("publisher").clean(false).expiry(PERSISTENT)
}

/// Publishes a few times, so that the publisher remembers the receivers of the topic and messages of
/// it may take the way of runs.
fn remember(client: &mut Client, qos: u8) {
    for number in 0..4 {
        let packet_id = 100 + number;
        client.say(&publish("t", "before").qos(qos, packet_id).bytes());
        if qos == 2 {
            client.say(&ack(Kind::Pubrel, packet_id));
        }
    }
}

/// MQTT-4.3.3-10: the old connection brings a QoS 2 message, the new one repeats and releases it.
fn repeats_qos2(remembered: bool, hooks: Option<Arc<dyn Hooks>>) {
    let hub = hub(|_| (), hooks);
    let subscriber = Client::subscriber(&hub, "subscriber", "t", 0);
    let mut old = Client::connect(&hub, &publisher());
    if remembered {
        remember(&mut old, 2);
    }
    let mut new = Client::accept(&hub);

    let reads = thread::spawn(move || {
        old.say(&publish("t", 1).qos(2, 1).bytes());
        old
    });
    new.say(&publisher().bytes());
    new.say(&publish("t", 1).qos(2, 1).dup().bytes());
    new.say(&ack(Kind::Pubrel, 1));
    let old = reads.join().unwrap();

    assert_eq!(new.connack(), Some(true));
    assert_eq!(subscriber.numbers(), [1], "delivered exactly once");
    audit(hub, vec![subscriber, old, new]);
}

#[test]
fn qos2_is_delivered_once() {
    explore(|| repeats_qos2(false, None));
}

#[test]
fn qos2_of_a_run_is_delivered_once() {
    explore(|| repeats_qos2(true, None));
}

/// MQTT-4.6.0-5: nothing of the old connection comes after what the new one brings.
fn keeps_order(qos: u8, remembered: bool, one_read: bool) {
    keeps_order_with(None, qos, remembered, one_read);
}

fn keeps_order_with(hooks: Option<Arc<dyn Hooks>>, qos: u8, remembered: bool, one_read: bool) {
    let hub = hub(|_| (), hooks);
    let subscriber = Client::subscriber(&hub, "subscriber", "t", 0);
    let mut old = Client::connect(&hub, &publisher());
    if remembered {
        remember(&mut old, qos);
    }
    let mut new = Client::accept(&hub);

    let numbered = move |number: u16| publish("t", number).qos(qos, number).bytes();
    let reads = thread::spawn(move || {
        let packets = [numbered(1), numbered(2)];
        if one_read {
            old.say(&packets.concat());
        } else {
            packets.iter().for_each(|packet| old.say(packet));
        }
        old
    });
    new.say(&publisher().bytes());
    new.say(&numbered(3));
    let old = reads.join().unwrap();

    let seen = subscriber.numbers();
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&3), "the new connection's message");
    audit(hub, vec![subscriber, old, new]);
}

#[test]
fn qos0_keeps_its_order() {
    explore(|| keeps_order(0, false, false));
}

#[test]
fn qos0_of_a_run_keeps_its_order() {
    explore(|| keeps_order(0, true, false));
}

#[test]
fn qos0_of_one_read_keeps_its_order() {
    explore(|| keeps_order(0, false, true));
}

#[test]
fn qos1_keeps_its_order() {
    explore(|| keeps_order(1, false, false));
}

#[test]
fn qos1_of_a_run_keeps_its_order() {
    explore(|| keeps_order(1, true, true));
}

#[test]
fn qos2_keeps_its_order() {
    explore(|| keeps_order(2, false, false));
}

#[test]
fn qos2_of_a_run_keeps_its_order() {
    explore(|| keeps_order(2, true, true));
}

#[test]
fn qos0_keeps_its_order_with_hooks() {
    explore(|| keeps_order_with(Some(Arc::new(AsksReceivers)), 0, false, true));
}

#[test]
fn qos1_keeps_its_order_with_hooks() {
    explore(|| keeps_order_with(Some(Arc::new(AsksReceivers)), 1, false, true));
}

#[test]
fn qos2_is_delivered_once_with_hooks() {
    explore(|| repeats_qos2(false, Some(Arc::new(AsksReceivers))));
}

/// A DISCONNECT that is handled while its connection is taken over says nothing about the session of
/// the new one.
#[test]
fn a_late_disconnect_leaves_the_new_session() {
    explore(|| {
        let hub = plain_hub();
        let mut old = Client::connect(&hub, &publisher());
        let mut new = Client::accept(&hub);

        let ends = thread::spawn(move || {
            let expiry = PropsBuf::new().u32(id::SESSION_EXPIRY_INTERVAL, 0);
            old.say(&disconnect(0, &expiry));
            old
        });
        new.say(&publisher().bytes());
        let old = ends.join().unwrap();

        assert!(is_connected(&hub, "publisher"));
        assert!(new.connack().is_some() && new.link.ended().is_none());
        let expiry: Vec<_> = hub.sessions().iter().map(|s| s.expiry_s).collect();
        assert_eq!(expiry, [PERSISTENT], "of the session");
        new.say(&disconnect(0, &PropsBuf::new()));
        assert_eq!(hub.sessions().len(), 1, "it goes on without connection");
        audit(hub, vec![old, new]);
    });
}
