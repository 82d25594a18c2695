//! Chapter 3.1.3.1: client identifiers.

use midge_testkit::{Connect, id, packet};

use crate::common::{broker, broker_set};

/// Covers: v5:MQTT-3.1.3-2
#[test]
fn mqtt_3_1_3_2_the_client_id_is_the_key_of_the_session() {
    let server = broker();
    let ids = [
        "device",
        "Device",
        "device ",
        " device",
        "d\u{e9}",
        "de\u{301}",
        "device\u{feff}",
    ];

    for (number, name) in ids.iter().enumerate() {
        let mut client = server.begin(&Connect::v5(name).clean(false).expiry(60));
        client.subscribe(&format!("t/{number}"), 1);
        client.disconnect();
    }

    let mut publisher = server.client("publisher");
    for number in 0..ids.len() {
        publisher.publish(&format!("t/{number}"), [number as u8], 1);
    }

    for (number, name) in ids.iter().enumerate() {
        let mut client = server.resume(&Connect::v5(name));
        client.expect_message(&format!("t/{number}"), [number as u8]);
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.1.3-3
#[test]
fn mqtt_3_1_3_3_the_client_id_is_there() {
    let server = broker();
    let nothing = packet(0x10, Connect::v5("").header());
    server.say(nothing).expect_closed_with(&[0x81]);
    let half = packet(0x10, [Connect::v5("").header(), vec![0]].concat());
    server.say(half).expect_closed_with(&[0x81]);
}

/// Covers: v5:MQTT-3.1.3-5
#[test]
fn mqtt_3_1_3_5_plain_client_ids_are_accepted() {
    const ALPHABET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let server = broker();
    for start in 0..=ALPHABET.len() - 23 {
        for length in [1, 22, 23] {
            server.client(&ALPHABET[start..start + length]).disconnect();
        }
    }
    for letter in ALPHABET.chars() {
        server.client(&letter.to_string()).disconnect();
    }
    for free in ["-", "a-b_c.d:e/f g", "+", "#", "$SYS", &"x".repeat(256)] {
        server.client(free).disconnect();
    }
}

/// Covers: v5:MQTT-3.1.3-6, v5:MQTT-3.1.3-7, v5:MQTT-3.2.2-16, NN5-046, NN5-147
#[test]
fn mqtt_3_1_3_7_an_assigned_client_id_is_a_client_id() {
    let server = broker();
    let mut connections = Vec::new();
    let mut names = Vec::new();
    for clean in [true, false] {
        let connect = Connect::v5("").clean(clean).expiry(60);
        let (mut client, connack) = server.answer(&connect);
        assert!(connack.code == 0 && !connack.session_present, "{connack:?}");
        let name = connack
            .props
            .text(id::ASSIGNED_CLIENT_IDENTIFIER)
            .expect("an identifier");
        assert!(!name.is_empty());
        client.subscribe("t", 1);
        names.push(name.to_owned());
        connections.push(client);
    }

    assert_ne!(names[0], names[1]);
    for client in &mut connections {
        client.expect_nothing();
    }

    for client in connections {
        client.disconnect();
    }

    server.client("publisher").publish("t", "p", 1);
    for name in names {
        let mut client = server.resume(&Connect::v5(&name).expiry(60));
        client.expect_message("t", "p");
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.1.3-6, v5:MQTT-3.2.2-16
#[test]
fn mqtt_3_2_2_16_assigned_client_ids_are_unique() {
    let server = broker();
    let mut names = std::collections::HashSet::new();
    for _ in 0..1000 {
        let (client, connack) = server.answer(&Connect::v5("").expiry(u32::MAX));
        let name = connack
            .props
            .text(id::ASSIGNED_CLIENT_IDENTIFIER)
            .expect("an identifier");
        assert!(!connack.session_present);
        assert!(names.insert(name.to_owned()), "{name} was given twice");
        drop(client);
    }
}

/// Covers: v5:MQTT-3.1.3-8
#[test]
fn mqtt_3_1_3_8_a_refused_client_id_closes() {
    let server = broker_set(&[("limits.client_id_bytes", "30")]);
    server.client(&"x".repeat(30)).expect_nothing();
    server
        .say(Connect::v5("x".repeat(31)).bytes())
        .expect_refused(0x85);
    // Bytes count, not characters.
    server
        .say(Connect::v5("\u{e9}".repeat(16)).bytes())
        .expect_refused(0x85);
}
