//! Chapters 3.4 to 3.7, 4.3 and 4.4: acknowledgements and QoS.

use midge_testkit::{Client, Connect, Kind, PropsBuf, Publish, ack, ack_code, ack_full, id};

use crate::common::{Holder, broker, props};

fn persistent() -> Connect {
    Connect::v5("client").clean(false).expiry(600)
}

/// Sends a QoS 2 PUBLISH and takes its PUBREC.
#[track_caller]
fn open(client: &mut Client, payload: &str, id: u16) {
    client.send(Publish::new("t", payload).qos(2, id).bytes());
    assert!(client.expect_ack(Kind::Pubrec, id).code < 0x80);
}

/// Releases an open one.
#[track_caller]
fn release(client: &mut Client, id: u16) {
    client.send(ack(Kind::Pubrel, id));
    assert_eq!(client.expect_ack(Kind::Pubcomp, id).code, 0);
}

/// Covers: v5:MQTT-3.4.2-1, v5:MQTT-3.5.2-1, v5:MQTT-3.6.2-1, v5:MQTT-3.7.2-1
#[test]
fn mqtt_3_4_2_1_acknowledgements_have_codes_of_their_tables() {
    let server = broker();

    // That those of the broker have is what every read of the client checks.
    for (kind, codes) in [
        (
            Kind::Puback,
            &[0x01, 0x04, 0x18, 0x81, 0x82, 0x8f, 0x92, 0xff][..],
        ),
        (
            Kind::Pubrec,
            &[0x01, 0x04, 0x18, 0x81, 0x82, 0x8f, 0x92, 0xff],
        ),
        (Kind::Pubrel, &[0x01, 0x10, 0x80, 0x91, 0xff]),
        (Kind::Pubcomp, &[0x01, 0x10, 0x80, 0x91, 0xff]),
    ] {
        for code in codes {
            println!("{kind:?} {code:#04x}");
            server.refuses(Holder::Puback, &ack_code(kind, 1, *code), &[0x81, 0x82]);
        }
    }
}

/// One way to write an acknowledgement.
type Form = fn(Kind, u16, &PropsBuf) -> Vec<u8>;

/// Covers: NN5-087
#[test]
fn nn5_087_acknowledgements_come_in_three_lengths() {
    let server = broker();
    let mut client = server.client("client");
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    let told = props().text(id::REASON_STRING, "because").user("n", "v");
    let forms: [Form; 4] = [
        |kind, id, _| ack(kind, id),
        |kind, id, _| ack_code(kind, id, 0),
        |kind, id, _| ack_full(kind, id, 0, &props()),
        |kind, id, told| ack_full(kind, id, 0, told),
    ];

    for form in forms {
        publisher.publish("t", "1", 1);
        let message = client.expect_publish();
        client.send(form(Kind::Puback, message.id, &told));
        publisher.publish("t", "2", 2);
        let message = client.expect_publish();
        client.send(form(Kind::Pubrec, message.id, &told));
        client.expect_ack(Kind::Pubrel, message.id);
        client.send(form(Kind::Pubcomp, message.id, &told));
        client.send(Publish::new("u", "3").qos(2, 900).bytes());
        client.expect_ack(Kind::Pubrec, 900);
        client.send(form(Kind::Pubrel, 900, &told));
        assert_eq!(client.expect_ack(Kind::Pubcomp, 900).code, 0);
        client.expect_nothing();
        assert_eq!(client.unfinished(), 0);
    }
}

/// Covers: v5:MQTT-3.7.2-1, v5:MQTT-3.6.2-1, v5:MQTT-4.3.3-11, NN5-091, NN5-150
#[test]
fn nn5_091_unknown_identifiers_are_answered_with_0x92() {
    let server = broker();
    let mut client = server.client("client");
    for _ in 0..2 {
        client.send(ack(Kind::Pubrel, 77));
        assert_eq!(client.expect_ack(Kind::Pubcomp, 77).code, 0x92);
        client.send(ack(Kind::Pubrec, 78));
        assert_eq!(client.expect_ack(Kind::Pubrel, 78).code, 0x92);
    }
    client.send(ack_code(Kind::Pubrec, 78, 0x80));
    client.expect_nothing();
    open(&mut client, "p", 5);
    release(&mut client, 5);
    client.send(ack(Kind::Pubrel, 5));
    assert!(matches!(client.expect_ack(Kind::Pubcomp, 5).code, 0 | 0x92));
    client.expect_nothing();
}

/// Covers: NN5-092
#[test]
fn nn5_092_a_final_acknowledgement_of_nothing_is_ignored() {
    let server = broker();
    let mut client = server.client("client");
    for id in [1, 999, 65_535] {
        client.send(ack(Kind::Puback, id));
        client.send(ack_code(Kind::Puback, id, 0x80));
        client.send(ack(Kind::Pubcomp, id));
    }
    client.expect_nothing();
}

/// Covers: v5:MQTT-4.3.2-3
#[test]
fn mqtt_4_3_2_3_a_qos_1_message_is_open_until_its_puback() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 1);

    let mut publisher = server.client("publisher");
    publisher.publish("t", "kept", 1);
    publisher.publish("t", "done", 1);

    let kept = client.expect_message("t", "kept");
    let done = client.expect_message("t", "done");
    client.send(ack(Kind::Puback, done.id));
    client.send(ack(Kind::Puback, 1234));
    client.cut();

    let mut client = server.resume(&persistent());
    let again = client.expect_message("t", "kept");
    assert!(again.dup && again.id == kept.id, "{again:?}");
    client.expect_nothing();
    client.send(ack(Kind::Puback, again.id));
    client.cut();
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-4.3.2-3
#[test]
fn mqtt_4_3_2_3_another_kind_of_acknowledgement_does_not_complete_it() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    for (qos, wrong) in [(1, Kind::Pubrec), (1, Kind::Pubcomp), (2, Kind::Puback)] {
        publisher.publish("t", "kept", qos);
        let kept = client.expect_message("t", "kept");
        client.send(ack(wrong, kept.id));
        // A protocol error and being ignored are both fine.
        client.cut();
        client = server.resume(&persistent());
        let again = client.expect_message("t", "kept");
        assert!(
            again.dup && again.id == kept.id && again.qos == qos,
            "{again:?}"
        );
        client.acknowledge(&again);
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-4.3.2-5
#[test]
fn mqtt_4_3_2_5_after_puback_the_identifier_is_free() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.client("client");
    client.send(Publish::new("t", "1").qos(1, 7).bytes());
    client.expect_ack(Kind::Puback, 7);
    client.send(Publish::new("t", "2").qos(1, 7).dup().bytes());
    client.expect_ack(Kind::Puback, 7);
    watcher.expect_message("t", "1");
    watcher.expect_message("t", "2");
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-3, v5:MQTT-4.3.3-5, v5:MQTT-4.3.3-6, v5:MQTT-4.3.3-4
#[test]
fn mqtt_4_3_3_3_a_qos_2_message_is_open_until_its_pubcomp() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    server.client("publisher").publish("t", "p", 2);

    let id = client.expect_message("t", "p").id;
    for _ in 0..3 {
        client.cut();
        client = server.resume(&persistent());
        let again = client.expect_message("t", "p");
        assert!(again.dup && again.id == id && again.qos == 2, "{again:?}");
        client.expect_nothing();
    }

    client.send(ack(Kind::Pubrec, id));
    assert_eq!(client.expect_ack(Kind::Pubrel, id).code, 0);
    for _ in 0..3 {
        client.cut();
        client = server.resume(&persistent());
        assert_eq!(client.expect_ack(Kind::Pubrel, id).code, 0);
        client.expect_nothing();
    }

    // A PUBREC that is repeated gets its PUBREL again.
    client.send(ack(Kind::Pubrec, id));
    assert_eq!(client.expect_ack(Kind::Pubrel, id).code, 0);
    client.send(ack(Kind::Pubcomp, id));
    client.cut();
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-4, NN5-090, v5:MQTT-4.4.0-2
#[test]
fn mqtt_4_3_3_4_pubrec_is_answered_by_pubrel_unless_it_refuses() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    for code in [0x00, 0x10] {
        publisher.publish("t", "p", 2);
        let id = client.expect_message("t", "p").id;
        client.send(ack_code(Kind::Pubrec, id, code));
        assert_eq!(client.expect_ack(Kind::Pubrel, id).code, 0);
        client.send(ack(Kind::Pubcomp, id));
    }

    for code in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        publisher.publish("t", "p", 2);
        let id = client.expect_message("t", "p").id;
        client.send(ack_code(Kind::Pubrec, id, code));
        client.expect_nothing();
    }

    for code in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        publisher.publish("t", "p", 1);
        let id = client.expect_message("t", "p").id;
        client.send(ack_code(Kind::Puback, id, code));
        client.expect_nothing();
    }

    client.cut();
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-10, v5:MQTT-4.3.3-8
#[test]
fn mqtt_4_3_3_10_a_repeated_qos_2_message_is_delivered_once() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.begin(&persistent());
    for round in 0..3 {
        for dup in [false, true, true, false] {
            let publish = Publish::new("t", "once").qos(2, 9);
            let publish = if dup && round > 0 {
                publish.dup()
            } else {
                publish
            };
            client.send(publish.bytes());
            assert!(client.expect_ack(Kind::Pubrec, 9).code < 0x80);
        }
        client.cut();
        client = server.resume(&persistent());
    }

    release(&mut client, 9);
    watcher.expect_message("t", "once");
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-11, v5:MQTT-4.3.3-12
#[test]
fn mqtt_4_3_3_12_after_pubcomp_the_identifier_is_free() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.client("client");
    for number in ["1", "2", "3"] {
        open(&mut client, number, 65_535);
        release(&mut client, 65_535);
        watcher.expect_message("t", number);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-4.3.3-11, v5:MQTT-4.3.3-10
#[test]
fn mqtt_4_3_3_11_pubrel_is_answered_in_a_resumed_session() {
    let server = broker();
    let mut watcher = server.watcher("t");
    let mut client = server.begin(&persistent());
    open(&mut client, "p", 3);
    client.cut();
    let mut client = server.resume(&persistent());
    release(&mut client, 3);
    watcher.expect_message("t", "p");
    watcher.expect_nothing();
}

/// Covers: NN5-005
#[test]
fn nn5_005_identifiers_of_the_two_directions_are_apart() {
    let server = broker();
    let mut watcher = server.watcher("from client");
    let mut publisher = server.client("publisher");
    let mut client = server.client("client");
    client.subscribe("to client", 2);

    // The client's exchange is begun before, after or between the steps of the broker's.
    for step in 0..4 {
        publisher.publish("to client", "p", 2);
        let id = client.expect_message("to client", "p").id;
        let mine = |client: &mut Client| {
            client.send(Publish::new("from client", "q").qos(2, id).bytes());
            client.expect_ack(Kind::Pubrec, id);
        };

        if step == 0 {
            mine(&mut client);
        }
        client.send(ack(Kind::Pubrec, id));
        client.expect_ack(Kind::Pubrel, id);
        match step {
            1 => {
                mine(&mut client);
                release(&mut client, id);
            }
            2 => mine(&mut client),
            _ => {}
        }
        client.send(ack(Kind::Pubcomp, id));
        client.expect_nothing();
        match step {
            0 | 2 => release(&mut client, id),
            1 => {}
            _ => {
                mine(&mut client);
                release(&mut client, id);
            }
        }
        watcher.expect_message("from client", "q");
        watcher.expect_nothing();
        publisher.publish("to client", "after", 1);
        assert_eq!(client.receive().text(), "after");
        client.expect_nothing();
        assert_eq!(client.unfinished(), 0);
    }
}

/// Covers: v5:MQTT-4.4.0-1, NN5-114, NN5-115, v5:MQTT-4.6.0-1
#[test]
fn mqtt_4_4_0_1_unfinished_messages_are_sent_again_on_resume_only() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    let mut publisher = server.client("publisher");
    for number in 0..6u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }
    let sent: Vec<_> = (0..6u8)
        .map(|number| client.expect_message("t", [number]))
        .collect();
    // Of 0 to 5: 1 and 5 are received, 2 is done.
    for index in [1, 5] {
        client.send(ack(Kind::Pubrec, sent[index].id));
        client.expect_ack(Kind::Pubrel, sent[index].id);
    }
    client.send(ack(Kind::Puback, sent[2].id));
    for _ in 0..60 {
        server.pass(1);
        client.expect_nothing();
    }
    client.cut();
    publisher.publish("t", "queued", 1);

    let mut client = server.resume(&persistent());
    let mut publishes = Vec::new();
    let mut releases = Vec::new();
    for _ in 0..5 {
        match client.recv() {
            midge_testkit::Packet::Publish(message) => publishes.push(message),
            midge_testkit::Packet::Ack(release) => releases.push(release.id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(releases, [sent[1].id, sent[5].id]);
    assert_eq!(publishes.len(), 3);
    for (again, index) in publishes.iter().zip([0, 3, 4]) {
        assert!(again.dup && again.id == sent[index].id, "{again:?}");
        assert_eq!(again.payload, sent[index].payload);
    }
    let queued = client.expect_message("t", "queued");
    assert!(!queued.dup, "{queued:?}");
    client.expect_nothing();
    client.cut();
    server.begin(&persistent().clean(true)).expect_nothing();
}

/// Covers: v5:MQTT-4.6.0-1, v5:MQTT-4.6.0-2, v5:MQTT-4.6.0-3, v5:MQTT-4.6.0-4
#[test]
fn mqtt_4_6_0_1_acknowledgements_keep_the_order_of_the_messages() {
    let server = broker();
    let mut client = server.client("client");
    let ids = [9, 3, 200, 1, 65_535, 42];
    for qos in 1..3 {
        let all: Vec<u8> = ids
            .iter()
            .flat_map(|id| Publish::new("t", "p").qos(qos, *id).bytes())
            .collect();
        client.send(all);
        let kind = if qos == 1 { Kind::Puback } else { Kind::Pubrec };
        for id in ids {
            client.expect_ack(kind, id);
        }
    }

    client.send(
        ids.iter()
            .flat_map(|id| ack(Kind::Pubrel, *id))
            .collect::<Vec<u8>>(),
    );
    for id in ids {
        client.expect_ack(Kind::Pubcomp, id);
    }

    client.subscribe("u", 2);

    let mut publisher = server.client("publisher");
    for _ in 0..4 {
        publisher.publish("u", "p", 2);
    }

    let mut ids: Vec<u16> = (0..4).map(|_| client.expect_message("u", "p").id).collect();
    ids.swap(0, 2);
    client.send(
        ids.iter()
            .flat_map(|id| ack(Kind::Pubrec, *id))
            .collect::<Vec<u8>>(),
    );
    for id in ids {
        client.expect_ack(Kind::Pubrel, id);
    }
}

/// Covers: NN5-133
#[test]
fn nn5_133_a_refused_packet_has_no_effect_on_others() {
    let server = broker();
    let mut client = server.client("client");
    client.subscribe("t", 1);
    assert!(client.deliver(&Publish::new("$SYS/x", "p").qos(1, 0)) >= 0x80);
    assert!(client.deliver(&Publish::new("$SYS/x", "p").qos(2, 0)) >= 0x80);
    assert_eq!(client.unsubscribe(&["nothing"]), [0x11]);
    client.publish("t", "p", 1);
    client.expect_message("t", "p");
    client.expect_nothing();
}
