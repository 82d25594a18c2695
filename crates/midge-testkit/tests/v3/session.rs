//! Sessions: clean and kept.

use midge_testkit::{Connect, Kind, Publish, ack};

use crate::common::broker;
use crate::{old, v4};

fn kept() -> Connect {
    v4("kept").clean(false)
}

/// Covers: v3:MQTT-3.1.2-4, v3:MQTT-3.1.2-5, v3:MQTT-3.2.2-2, v3:MQTT-3.2.2-3, v3:MQTT-4.5.0-1, U311-17
#[test]
fn mqtt311_3_1_2_4_a_kept_session_goes_on() {
    let server = broker();
    let mut publisher = old(&server, "publisher");
    let mut connected = crate::watcher(&server, "t");
    for gently in [true, false] {
        let mut client = server.connect(&kept());
        client.subscribe("t", 2);
        if gently {
            client.disconnect();
        } else {
            client.cut();
        }
        for n in 0..10 {
            publisher.publish("t", n.to_string(), 1 + n % 2);
        }
        let mut client = server.resume(&kept());
        for n in 0..10 {
            let message = client.receive();
            assert_eq!((message.text(), message.qos), (n.to_string(), 1 + n % 2));
            assert_eq!(connected.receive().text(), n.to_string());
        }
        client.expect_nothing();
        client.disconnect();
    }
    // Long after, it is still there.
    server.pass(10 * 365 * 86_400);
    server.resume(&kept());
}

/// Covers: v3:MQTT-3.1.2-6, v3:MQTT-3.1.4-3, v3:MQTT-3.2.2-1, v3:MQTT-3.1.2-7
#[test]
fn mqtt311_3_1_2_6_a_clean_session_leaves_nothing() {
    let server = broker();
    let mut client = server.begin(&kept());
    client.subscribe("t", 1);
    client.retain("r", "retained", 1);
    client.cut();
    let mut publisher = old(&server, "publisher");
    publisher.publish("t", "old", 1);
    let mut client = server.begin(&v4("kept"));
    client.expect_nothing();
    client.subscribe("t", 1);
    client.disconnect();
    publisher.publish("t", "in between", 1);
    let mut client = server.begin(&kept());
    client.expect_nothing();
    client.subscribe("r", 0);
    client.expect_message("r", "retained");
}

/// Covers: v3:MQTT-4.1.0-1, v3:MQTT-4.1.0-2
#[test]
fn mqtt311_4_1_0_1_state_lasts_as_long_as_the_session() {
    let server = broker();
    let mut client = old(&server, "c");
    client.subscribe("t", 2);
    server.pass(100_000);
    client.publish("t", "p", 2);
    client.expect_message("t", "p");
}

/// Covers: v3:MQTT-4.4.0-1, v3:MQTT-3.3.1-1, v3:MQTT-4.3.2-1, v3:MQTT-4.3.3-1, v3:MQTT-4.6.0-1, U311-18, V31-11
#[test]
fn mqtt311_4_4_0_1_unfinished_messages_are_sent_again_on_resume() {
    let server = broker();
    let mut client = server.begin(&kept());
    client.subscribe("t", 2);
    let mut publisher = old(&server, "publisher");
    for (payload, qos) in [("a", 1), ("b", 2), ("c", 1), ("d", 2)] {
        publisher.publish("t", payload, qos);
    }
    let sent: Vec<_> = (0..4).map(|_| client.expect_publish()).collect();
    assert!(sent.iter().all(|message| !message.dup));
    client.send(ack(Kind::Puback, sent[0].id));
    client.send(ack(Kind::Pubrec, sent[1].id));
    client.expect_ack(Kind::Pubrel, sent[1].id);
    server.pass(600);
    client.expect_nothing();
    client.cut();
    publisher.publish("t", "e", 1);

    let mut client = server.resume(&kept());
    client.expect_ack(Kind::Pubrel, sent[1].id);
    for expected in &sent[2..] {
        let again = client.expect_publish();
        assert!(again.dup && again.id == expected.id && again.text() == expected.text());
        client.acknowledge(&again);
    }
    client.send(ack(Kind::Pubcomp, sent[1].id));
    assert_eq!(client.receive().text(), "e");
    client.expect_nothing();
    client.cut();
    server.resume(&kept()).expect_nothing();
}

/// Covers: v3:MQTT-2.3.1-2, v3:MQTT-4.3.3-2
#[test]
fn mqtt311_4_3_3_2_a_repeated_qos_2_message_is_delivered_once() {
    let server = broker();
    let mut watcher = crate::watcher(&server, "t");
    let mut client = server.begin(&kept());
    let publish = Publish::new("t", "once").qos(2, 7);
    for round in 0..2 {
        for _ in 0..5 {
            client.send(publish.clone().bytes_for(4));
            client.expect_ack(Kind::Pubrec, 7);
            client.send(publish.clone().dup().bytes_for(4));
            client.expect_ack(Kind::Pubrec, 7);
        }
        if round == 0 {
            client.cut();
            client = server.resume(&kept());
        }
    }
    for _ in 0..2 {
        client.send(ack(Kind::Pubrel, 7));
        client.expect_ack(Kind::Pubcomp, 7);
    }
    assert_eq!(watcher.drain().len(), 1);
    client.deliver(&publish);
    assert_eq!(watcher.drain().len(), 1);
}
