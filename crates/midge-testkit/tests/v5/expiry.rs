//! Message expiry.

use midge_testkit::{Client, Connect, Kind, Message, Publish, ack, id};

use crate::common::{broker, props};

fn persistent() -> Connect {
    Connect::v5("client").clean(false).expiry(6000)
}

fn message(payload: &str, seconds: u32) -> Publish {
    Publish::new("t", payload).qos(1, 0).expiry(seconds)
}

fn left(message: &Message) -> Option<u32> {
    message.props.number(id::MESSAGE_EXPIRY_INTERVAL)
}

/// Covers: v5:MQTT-3.3.2-5
#[test]
fn mqtt_3_3_2_5_a_message_that_waits_too_long_is_deleted() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    client.disconnect();
    let mut publisher = server.client("publisher");
    publisher.deliver(&message("expires", 2));
    publisher.deliver(&message("stays", 10));
    publisher.deliver(&message("expires too", 2));
    publisher.publish("t", "for ever", 1);
    server.pass_ms(1_900);
    let mut client = server.resume(&persistent().receive_maximum(1));
    let first = client.expect_message("t", "expires");
    client.expect_nothing();
    server.pass_ms(200);
    // Sent once, it is finished whatever its age; the next one has not been sent in time.
    client.send(ack(Kind::Puback, first.id));
    assert_eq!(client.receive().text(), "stays");
    assert_eq!(client.receive().text(), "for ever");
    client.expect_nothing();
    client.disconnect();

    publisher.deliver(&message("expires", 2));
    server.pass_ms(2_100);
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-5, NN5-057
#[test]
fn mqtt_3_3_2_5_a_retained_message_expires() {
    let server = broker();
    let mut publisher = server.client("publisher");
    publisher.deliver(&message("short", 2).retain());
    server.pass_ms(1_900);

    let mut found = server.client("finder");
    found.subscribe("t", 0);
    found.expect_message("t", "short");
    server.pass_ms(200);
    for filter in ["t", "#"] {
        let mut finder = server.client("finder");
        finder.subscribe(filter, 0);
        finder.expect_nothing();
    }

    // The message that follows has its own interval.
    publisher.deliver(&message("short", 2).retain());
    publisher.deliver(&message("long", 60).retain());
    server.pass(10);

    let mut finder = server.client("finder");
    finder.subscribe("t", 0);
    finder.expect_message("t", "long");
    publisher.deliver(&message("short", 2).retain());
    publisher.retain("t", "for ever", 1);
    server.pass(1000);

    let mut finder = server.client("finder");
    finder.subscribe("t", 0);
    finder.expect_message("t", "for ever");
}

/// Covers: v5:MQTT-3.3.2-5, v5:MQTT-3.3.4-9
#[test]
fn mqtt_3_3_2_5_a_message_held_back_by_receive_maximum_expires() {
    let server = broker();
    let mut client = server.connect(&Connect::v5("client").receive_maximum(1));
    client.subscribe("t", 1);
    let mut publisher = server.client("publisher");
    publisher.publish("t", "first", 1);
    publisher.deliver(&message("expires", 2));
    publisher.publish("t", "last", 1);
    let first = client.expect_message("t", "first");
    server.pass(3);
    client.acknowledge(&first);
    assert_eq!(client.receive().text(), "last");
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-6, NN5-066
#[test]
fn mqtt_3_3_2_6_the_waiting_time_is_taken_off() {
    let server = broker();
    let mut live = server.watcher("t");
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    client.disconnect();

    let mut publisher = server.client("publisher");
    publisher.deliver(&message("m", 60).retain());
    assert_eq!(left(&live.receive()), Some(60));
    publisher.deliver(&message("largest", u32::MAX));
    assert_eq!(left(&live.receive()), Some(u32::MAX));
    publisher.publish("t", "none", 1);
    assert_eq!(left(&live.receive()), None);
    server.pass(3);

    let mut client = server.resume(&persistent());
    assert_eq!(left(&client.receive()), Some(57));
    assert_eq!(left(&client.receive()), Some(u32::MAX - 3));
    assert_eq!(left(&client.receive()), None);
    server.pass(20);

    let mut finder = server.client("finder");
    finder.subscribe("t", 0);
    assert_eq!(left(&finder.expect_message("t", "m")), Some(37));
}

/// Covers: NN5-065
#[test]
fn nn5_065_an_expiry_of_0_is_for_connected_subscribers() {
    let server = broker();
    let mut live = server.watcher("t");
    let mut client = server.begin(&persistent());
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = server.client("publisher");
    for qos in 0..3 {
        publisher.deliver(&Publish::new("t", "now").qos(qos, 0).expiry(0));
        let message = live.receive();
        assert_eq!((message.text().as_str(), left(&message)), ("now", Some(0)));
    }
    server.resume(&persistent()).expect_nothing();
}

/// Covers: NN5-067
#[test]
fn nn5_067_the_interval_never_wraps_or_vanishes() {
    for wait in [0, 500, 900, 999, 1_000, 1_001, 1_100, 1_999, 2_000, 2_001] {
        let server = broker();
        let mut client = server.begin(&persistent());
        client.subscribe("t", 1);
        client.disconnect();
        let mut publisher = server.client("publisher");
        publisher.deliver(&message("m", 1));
        server.pass_ms(wait);
        let mut client = server.resume(&persistent());
        let arrived = client.drain();
        if wait < 1_000 {
            assert_eq!(arrived.len(), 1, "after {wait} ms");
        }
        if wait > 1_000 {
            assert!(arrived.is_empty(), "after {wait} ms: {arrived:?}");
        }
        for message in arrived {
            assert!(
                matches!(left(&message), Some(0 | 1)),
                "after {wait} ms: {message:?}"
            );
        }
    }
}

/// What is sent again after a cut, with how long it may still wait.
#[track_caller]
fn sent_again(client: &mut Client) -> Message {
    let message = client.expect_publish();
    assert!(message.dup, "{message:?}");
    // An interval that has passed is told as 0 at most, never as a large number.
    assert!(left(&message).is_none_or(|left| left <= 1), "{message:?}");
    message
}

/// Covers: v5:MQTT-4.3.3-7, NN5-068
#[test]
fn mqtt_4_3_3_7_a_message_that_was_sent_does_not_expire() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    let mut publisher = server.client("publisher");
    for qos in 1..3 {
        publisher.deliver(&Publish::new("t", [qos]).qos(qos, 0).expiry(1));
    }
    let first = client.expect_message("t", [1]);
    let second = client.expect_message("t", [2]);
    client.cut();
    server.pass(30);
    let mut client = server.resume(&persistent());
    assert_eq!(sent_again(&mut client).id, first.id);
    let again = sent_again(&mut client);
    assert_eq!(again.id, second.id);
    client.acknowledge(&again);
    client.expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-13
#[test]
fn mqtt_4_3_3_13_the_acknowledgements_go_on_after_expiry() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    client.disconnect();
    let mut publisher = server.client("publisher");
    publisher.send(Publish::new("t", "p").qos(2, 7).expiry(1).bytes());
    assert_eq!(publisher.expect_ack(Kind::Pubrec, 7).code, 0);
    server.pass(3);
    publisher.send(Publish::new("t", "p").qos(2, 7).expiry(1).dup().bytes());
    assert!(publisher.expect_ack(Kind::Pubrec, 7).code < 0x80);
    publisher.send(ack(Kind::Pubrel, 7));
    assert_eq!(publisher.expect_ack(Kind::Pubcomp, 7).code, 0);
    publisher.expect_nothing();
}

/// Covers: NN5-139, NN5-140
#[test]
fn nn5_139_expiry_works_for_older_subscribers() {
    let server = broker();
    let old = Connect::new(4, "old").clean(false);
    let mut client = server.begin(&old);
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = server.client("publisher");
    let block = props().user("n", "v").text(id::CONTENT_TYPE, "c");
    publisher.deliver(&message("expires", 2).props(block.clone()));
    publisher.deliver(&message("stays", 20).props(block));
    server.pass(3);
    let mut client = server.resume(&old);
    assert_eq!(client.receive().text(), "stays");
    client.expect_nothing();
    // The other way nothing is made up.
    let mut watcher = server.watcher("t");
    client.publish("t", "old", 1);
    assert!(watcher.receive().props.is_empty());
}
