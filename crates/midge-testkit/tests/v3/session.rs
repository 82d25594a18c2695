//! Sessions of 3.1.1 clients: stored, resumed, thrown away.

use midge_testkit::{Kind, Publish, Subscribe, ack};

use crate::common::{Server, broker, broker_set};
use crate::{client, kept, v311, watcher};

/// Covers: v3:MQTT-3.1.2-4, v3:MQTT-3.1.4-3, v3:MQTT-4.1.0-1
#[test]
fn mqtt311_3_1_2_4_a_session_is_stored_and_resumed() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    let both = Subscribe::new(0).filter("a/+", 1).filter("b", 2);
    assert_eq!(subscriber.request(&both).codes, [1, 2]);
    subscriber.disconnect();
    publisher.publish("a/x", "1", 1);

    let mut subscriber = server.resume(&kept("client"));
    assert_eq!(subscriber.receive().text(), "1");
    subscriber.cut();
    publisher.publish("b", "2", 2);

    let mut subscriber = server.resume(&kept("client"));
    let message = subscriber.receive();
    assert_eq!((message.text().as_str(), message.qos), ("2", 2));
    publisher.publish("a/y", "3", 2);

    let message = subscriber.receive();
    assert_eq!((message.text().as_str(), message.qos), ("3", 1));
    subscriber.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-5, v3:MQTT-4.5.0-1, v3:MQTT-4.6.0-6
#[test]
fn mqtt311_3_1_2_5_messages_wait_for_the_session() {
    let server = broker();
    let mut publisher = client(&server, "publisher");

    for clean_end in [true, false] {
        let name = format!("client {clean_end}");
        let mut subscriber = server.begin(&kept(&name));
        subscriber.subscribe("t/#", 2);
        if clean_end {
            subscriber.disconnect();
        } else {
            subscriber.cut();
        }
        for number in 0..20u8 {
            publisher.publish(&format!("t/{}", number % 3), [number], 1 + number % 2);
        }
        let mut subscriber = server.resume(&kept(&name));
        for number in 0..20u8 {
            let message = subscriber.receive();
            assert_eq!(message.payload, [number]);
            assert_eq!(message.qos, 1 + number % 2);
            assert!(!message.dup, "{message:?}");
        }
        subscriber.expect_nothing();
    }
}

/// Covers: v3:MQTT-3.1.2-6, v3:MQTT-3.1.4-3
#[test]
fn mqtt311_3_1_2_6_a_clean_session_begins_and_ends_with_its_connection() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut watcher = watcher(&server, "from");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    subscriber.send(Publish::new("from", "half done").qos(2, 9).bytes_for(4));
    subscriber.expect_ack(Kind::Pubrec, 9);
    publisher.publish("t", "in flight", 2);
    subscriber.expect_message("t", "in flight");
    subscriber.cut();
    watcher.drain();
    publisher.publish("t", "queued", 1);

    let mut subscriber = server.begin(&v311("client"));
    publisher.publish("t", "to nobody", 1);
    subscriber.expect_nothing();
    // The old identifier is free: this is a new message.
    subscriber.send(Publish::new("from", "new").qos(2, 9).bytes_for(4));
    subscriber.expect_ack(Kind::Pubrec, 9);
    subscriber.send(ack(Kind::Pubrel, 9));
    subscriber.expect_ack(Kind::Pubcomp, 9);
    assert_eq!(watcher.receive().text(), "new");
    subscriber.subscribe("t", 1);
    subscriber.disconnect();
    publisher.publish("t", "to nobody", 1);

    let mut subscriber = server.begin(&kept("client"));
    publisher.publish("t", "to nobody", 1);
    subscriber.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-7, U311-17
#[test]
fn mqtt311_3_1_2_7_retained_messages_are_no_part_of_a_session() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    publisher.retain("t", "r", 1);
    publisher.disconnect();
    server.begin(&kept("publisher")).disconnect();
    server.begin(&v311("publisher")).disconnect();
    server.pass(u64::from(u32::MAX));
    let mut late = watcher(&server, "t");
    assert_eq!(late.receive().text(), "r");
}

/// Covers: v3:MQTT-4.1.0-1, v3:MQTT-4.1.0-2
#[test]
fn mqtt311_4_1_0_1_time_does_not_end_a_session() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    publisher.publish("t", "sent", 2);

    let sent = subscriber.expect_message("t", "sent");

    // While it is connected,
    server.pass(u64::from(u32::MAX));
    subscriber.send(ack(Kind::Pubrec, sent.id));
    subscriber.expect_ack(Kind::Pubrel, sent.id);
    subscriber.cut();
    publisher.publish("t", "queued", 1);

    // and while it is not.
    for _ in 0..3 {
        server.pass(u64::from(u32::MAX));
    }

    let mut subscriber = server.resume(&kept("client"));
    subscriber.expect_ack(Kind::Pubrel, sent.id);
    subscriber.send(ack(Kind::Pubcomp, sent.id));
    assert_eq!(subscriber.receive().text(), "queued");

    // A clean session keeps its state just as long as it is connected.
    let mut clean = client(&server, "clean");
    clean.subscribe("t", 1);
    server.pass(u64::from(u32::MAX));
    publisher.publish("t", "later", 1);
    assert_eq!(clean.receive().text(), "later");
}

/// Covers: U311-04
#[test]
fn u311_04_qos_0_does_not_wait_unless_the_host_says_so() {
    for (option, waits) in [("false", false), ("true", true)] {
        let server = broker_set(&[("mqtt.queue_qos0_offline", option)]);
        let mut publisher = client(&server, "publisher");
        let mut subscriber = server.begin(&kept("client"));
        let filters = Subscribe::new(0).filter("granted/0", 0).filter("two", 2);
        subscriber.request(&filters);
        subscriber.disconnect();
        publisher.publish("granted/0", "1", 2);
        publisher.publish("two", "2", 0);
        publisher.publish("two", "3", 1);
        let mut subscriber = server.resume(&kept("client"));
        let mut expected = vec!["3"];
        if waits {
            expected.splice(0..0, ["1", "2"]);
        }
        for text in expected {
            assert_eq!(subscriber.receive().text(), text);
        }
        subscriber.expect_nothing();
    }
}

/// Covers: v3:MQTT-4.5.0-1
#[test]
fn mqtt311_4_5_0_1_every_matching_session_gets_the_message() {
    let server = broker();
    let filters = ["t/#", "t/+", "t/x", "+/x", "#"];
    let mut online = Vec::new();
    for (number, filter) in filters.iter().enumerate() {
        let mut subscriber = server.begin(&kept(&format!("offline {number}")));
        subscriber.subscribe(filter, 2);
        subscriber.disconnect();
        let mut subscriber = client(&server, &format!("online {number}"));
        subscriber.subscribe(filter, 2);
        online.push(subscriber);
    }

    let mut publisher = client(&server, "publisher");
    publisher.publish("t/x", "1", 1);
    publisher.publish("t/x", "2", 2);
    publisher.cut();

    let offline =
        (0..filters.len()).map(|number| server.resume(&kept(&format!("offline {number}"))));
    for mut subscriber in offline.collect::<Vec<_>>().into_iter().chain(online) {
        assert_eq!(subscriber.receive().text(), "1");
        assert_eq!(subscriber.receive().text(), "2");
        subscriber.expect_nothing();
    }
}

/// What a session has in flight: one message in each state.
struct InFlight {
    qos1: u16,
    qos2: u16,
    released: u16,
}

/// Leaves a session with messages in flight and one that waits.
#[track_caller]
fn interrupted(server: &Server) -> InFlight {
    let mut publisher = client(server, "publisher");
    let mut subscriber = server.begin(&kept("client"));
    subscriber.subscribe("t", 2);
    publisher.publish("t", "released", 2);
    publisher.publish("t", "one", 1);
    publisher.publish("t", "two", 2);

    let released = subscriber.expect_message("t", "released").id;
    let qos1 = subscriber.expect_message("t", "one").id;
    let qos2 = subscriber.expect_message("t", "two").id;
    subscriber.send(ack(Kind::Pubrec, released));
    subscriber.expect_ack(Kind::Pubrel, released);
    subscriber.cut();
    publisher.publish("t", "waiting", 1);
    InFlight {
        qos1,
        qos2,
        released,
    }
}

/// Covers: v3:MQTT-4.4.0-1, v3:MQTT-3.3.1-1, v3:MQTT-4.3.2-1, v3:MQTT-4.3.3-1, v3:MQTT-2.3.1-4, v3:MQTT-4.6.0-1
#[test]
fn mqtt311_4_4_0_1_what_is_open_is_sent_again_with_its_identifier() {
    let server = broker();
    let open = interrupted(&server);
    for _ in 0..3 {
        let mut subscriber = server.resume(&kept("client"));
        subscriber.expect_ack(Kind::Pubrel, open.released);
        let one = subscriber.expect_message("t", "one");
        assert!(one.dup && one.qos == 1 && one.id == open.qos1, "{one:?}");
        let two = subscriber.expect_message("t", "two");
        assert!(two.dup && two.qos == 2 && two.id == open.qos2, "{two:?}");
        let waiting = subscriber.expect_message("t", "waiting");
        assert!(![open.qos1, open.qos2, open.released].contains(&waiting.id));
        subscriber.cut();
    }

    let mut subscriber = server.resume(&kept("client"));
    subscriber.expect_ack(Kind::Pubrel, open.released);
    subscriber.send(ack(Kind::Pubcomp, open.released));
    for text in ["one", "two", "waiting"] {
        let message = subscriber.receive();
        assert!(message.dup && message.text() == text, "{message:?}");
    }

    subscriber.cut();

    // All is done now.
    server.resume(&kept("client")).expect_nothing();
}

/// Covers: U311-18, V31-11
#[test]
fn u311_18_nothing_is_sent_again_on_a_living_connection() {
    let server = broker();
    let open = interrupted(&server);
    let mut subscriber = server.resume(&kept("client"));
    subscriber.expect_ack(Kind::Pubrel, open.released);
    for text in ["one", "two", "waiting"] {
        subscriber.expect_message("t", text);
    }
    for _ in 0..5 {
        server.pass(3600);
        subscriber.expect_nothing();
    }
}
