//! Wills.

use midge_testkit::{Client, Connect, Kind, Publish, Subscribe, Will, ack, disconnect, id};

use crate::common::{Server, broker, props};

fn will() -> Will {
    Will::new("will", "w")
}

/// A client with a will of a delay.
#[track_caller]
fn mortal(server: &Server, delay: u32, expiry: u32) -> Client {
    server.connect(
        &Connect::v5("mortal")
            .will(will().delay(delay))
            .expiry(expiry),
    )
}

/// Covers: v5:MQTT-3.1.2-7
#[test]
fn mqtt_3_1_2_7_the_will_is_stored_as_it_was_sent() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for qos in 0..3 {
        let payload: Vec<u8> = (0..=255).collect();
        let will = Will::new("the/will", &payload)
            .qos(qos)
            .props(props().user("n", "v"));
        server.connect(&Connect::v5("mortal").will(will)).cut();
        let message = watcher.receive();
        assert_eq!((message.topic.as_str(), message.qos), ("the/will", qos));
        assert_eq!(message.payload, payload);
        assert_eq!(message.props.users(), [("n", "v")]);
    }

    let largest = vec![7; 65_535];
    server
        .connect(&Connect::v5("mortal").will(Will::new("t", &largest)))
        .cut();
    watcher.expect_message("t", &largest);
    server
        .connect(&Connect::v5("mortal").will(Will::new("t", "")))
        .cut();
    watcher.expect_message("t", "");
}

/// Covers: v5:MQTT-3.1.2-8, v5:MQTT-4.13.1-1, v5:MQTT-4.13.2-1, NN5-018, NN5-015
#[test]
fn mqtt_3_1_2_8_the_will_follows_every_end_but_a_normal_one() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let connect = Connect::v5("mortal").will(will()).keep_alive(10);

    server.connect(&connect).cut();
    watcher.expect_message("will", "w");

    // A reset: the socket is dropped with something unread in it.
    let mut reset = server.connect(&connect);
    reset.send([0xc0, 0]);
    reset.subscribe("t", 0);
    server.client("publisher").publish("t", "unread", 0);
    drop(reset);
    watcher.expect_message("will", "w");

    let mut silent = server.connect(&connect);
    server.pass(16);
    silent.expect_disconnect(0x8d);
    watcher.expect_message("will", "w");

    let mut wrong = server.connect(&connect);
    wrong.send([0x36, 5, 0, 1, b't', 0, 1]);
    wrong.expect_disconnect(0x81);
    watcher.expect_message("will", "w");

    let mut old = server.connect(&connect);
    let new = server.client("mortal");
    old.expect_disconnect(0x8e);
    watcher.expect_message("will", "w");
    new.disconnect();

    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-8, NN5-024, v5:MQTT-4.13.2-1
#[test]
fn nn5_024_disconnect_with_another_code_than_0_publishes_the_will() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let codes = [
        0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
    ];

    for code in codes {
        println!("{code:#04x}");
        let mut client = mortal(&server, 0, 0);
        client.send(disconnect(code, &props()));
        client.expect_closed();
        watcher.expect_message("will", "w");
    }

    // The delay counts here as well.
    let mut client = mortal(&server, 5, 60);
    client.send([0xe0, 1, 4]);
    client.expect_closed();
    server.pass_ms(4_900);
    watcher.expect_nothing();
    server.pass_ms(200);
    watcher.expect_message("will", "w");
}

/// Covers: v5:MQTT-3.14.4-3, v5:MQTT-3.1.2-8, v5:MQTT-3.1.2-10
#[test]
fn mqtt_3_14_4_3_a_normal_disconnect_deletes_the_will() {
    let server = broker();
    let mut watcher = server.watcher("will");
    for delay in [0, 5] {
        for form in [&[0xe0, 0][..], &[0xe0, 1, 0], &[0xe0, 2, 0, 0]] {
            let mut client = mortal(&server, delay, 60);
            client.send(form);
            client.expect_closed();
            watcher.expect_nothing();
            server.pass(100);
            watcher.expect_nothing();
        }
    }
}

/// Covers: v5:MQTT-3.1.2-10
#[test]
fn mqtt_3_1_2_10_a_will_is_used_once() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 0, 600).cut();
    watcher.expect_message("will", "w");
    let plain = Connect::v5("mortal").expiry(600);
    server.resume(&plain).cut();
    server.pass(10);
    watcher.expect_nothing();

    mortal(&server, 0, 600).disconnect();
    server.resume(&plain).cut();
    server.pass(1000);
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-14, v5:MQTT-3.1.2-15, v5:MQTT-3.3.1-7
#[test]
fn mqtt_3_1_2_15_will_retain_says_whether_it_is_retained() {
    let server = broker();
    let mut watcher = server.client("watcher");
    watcher.request(&Subscribe::new(0).filter("will", 0x08));
    mortal(&server, 0, 0).cut();
    assert!(!watcher.expect_message("will", "w").retain);
    let mut late = server.watcher("will/#");
    late.expect_nothing();

    let mut watcher = server.client("keeper");
    watcher.request(&Subscribe::new(0).filter("will", 0x08));
    server
        .connect(&Connect::v5("mortal").will(will().qos(1).retain()))
        .cut();
    assert!(watcher.expect_message("will", "w").retain);
    let mut late = server.client("late");
    late.subscribe("will", 1);
    let message = late.receive();
    assert!(
        message.retain && message.qos == 1 && message.payload == b"w",
        "{message:?}"
    );

    server
        .connect(&Connect::v5("mortal").will(Will::new("will", "").retain()))
        .cut();
    watcher.expect_message("will", "");
    late.expect_message("will", "");
    let mut later = server.client("later");
    later.subscribe("will", 1);
    later.expect_nothing();
}

/// Covers: v5:MQTT-3.1.3-9, v5:MQTT-3.1.2-8
#[test]
fn mqtt_3_1_3_9_coming_back_within_the_delay_keeps_the_will_unsent() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 3, 60).cut();
    server.pass(1);
    let connect = Connect::v5("mortal")
        .expiry(60)
        .will(Will::new("will", "the new one").delay(1));
    let client = server.resume(&connect);
    server.pass(30);
    watcher.expect_nothing();
    client.cut();
    watcher.expect_nothing();
    server.pass_ms(1_100);
    watcher.expect_message("will", "the new one");
    server.pass(100);
    watcher.expect_nothing();

    // A client that comes back without a will has none.
    mortal(&server, 3, 60).cut();
    server.resume(&Connect::v5("mortal").expiry(60)).cut();
    server.pass(1000);
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-8
#[test]
fn mqtt_3_1_2_8_the_will_waits_for_its_delay() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 10, 60).cut();
    server.pass_ms(9_900);
    watcher.expect_nothing();
    server.pass_ms(200);
    watcher.expect_message("will", "w");
    server.pass(100);
    watcher.expect_nothing();
}

/// Covers: NN5-016, v5:MQTT-3.1.2-8, v5:MQTT-4.1.0-2
#[test]
fn nn5_016_the_end_of_the_session_ends_the_delay() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 10, 2).cut();
    server.pass_ms(1_900);
    watcher.expect_nothing();
    server.pass_ms(200);
    watcher.expect_message("will", "w");

    // Without expiry the session ends with the connection.
    mortal(&server, 10, 0).cut();
    watcher.expect_message("will", "w");

    // An interval set at the end counts as well.
    let mut client = mortal(&server, 10, 60);
    client.send(disconnect(4, &props().u32(id::SESSION_EXPIRY_INTERVAL, 1)));
    client.expect_closed();
    watcher.expect_nothing();
    server.pass_ms(1_100);
    watcher.expect_message("will", "w");
    server.pass(100);
    watcher.expect_nothing();
}

/// Covers: NN5-017, v5:MQTT-3.1.4-3
#[test]
fn nn5_017_takeover_sends_the_will_unless_its_session_goes_on() {
    for delay in [0, 5] {
        for expiry in [0, 60] {
            for clean in [false, true] {
                println!("delay {delay}, expiry {expiry}, clean {clean}");
                let server = broker();
                let mut watcher = server.watcher("will");
                let mut old = mortal(&server, delay, expiry);
                let mut new = server.connect(&Connect::v5("mortal").clean(clean).expiry(60));
                old.expect_disconnect(0x8e);
                new.expect_nothing();
                if (delay, expiry, clean) != (5, 60, false) {
                    watcher.expect_message("will", "w");
                }
                watcher.expect_nothing();
                server.pass(100);
                watcher.expect_nothing();
                // The new connection has no will.
                new.cut();
                server.pass(100);
                watcher.expect_nothing();
            }
        }
    }
}

/// Covers: v5:MQTT-3.1.2-4
#[test]
fn mqtt_3_1_2_4_clean_start_ends_the_session_of_a_waiting_will() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 5, 60).cut();
    watcher.expect_nothing();
    let _client = server.begin(&Connect::v5("mortal"));
    watcher.expect_message("will", "w");
    server.pass(100);
    watcher.expect_nothing();
}

/// Covers: NN5-019
#[test]
fn nn5_019_a_refused_connect_does_not_stop_the_will() {
    let server = broker();
    let mut watcher = server.watcher("will");
    mortal(&server, 5, 60).cut();
    server.pass(3);
    let method = props().text(id::AUTHENTICATION_METHOD, "unknown");
    let refused = Connect::v5("mortal").expiry(60).clean(false).props(method);
    server.say(refused.bytes()).expect_refused(0x8c);
    server.pass_ms(1_900);
    watcher.expect_nothing();
    server.pass_ms(200);
    watcher.expect_message("will", "w");
}

/// Covers: NN5-020
#[test]
fn nn5_020_the_payload_format_of_a_will_is_checked_on_demand() {
    let bad = Will::new("will", [0xff]).props(props().u8(id::PAYLOAD_FORMAT_INDICATOR, 1));
    let connect = Connect::v5("mortal").will(bad);
    let server = broker();
    let mut watcher = server.watcher("will");
    server.connect(&connect).cut();
    watcher.expect_message("will", [0xff]);
    let strict = crate::common::broker_set(&[("strict.payload_format", "true")]);
    strict.say(connect.bytes()).expect_refused(0x99);
}

/// Covers: NN5-021, v5:MQTT-3.3.2-6
#[test]
fn nn5_021_the_expiry_of_a_will_counts_from_its_publication() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let expiry = props().u32(id::MESSAGE_EXPIRY_INTERVAL, 30);
    let connect = Connect::v5("mortal")
        .expiry(60)
        .will(will().delay(5).props(expiry));
    server.connect(&connect).cut();
    server.pass(6);
    let message = watcher.expect_message("will", "w");
    assert_eq!(message.props.number(id::MESSAGE_EXPIRY_INTERVAL), Some(30));
    assert!(!message.props.has(id::WILL_DELAY_INTERVAL));
}

/// Covers: v5:MQTT-4.5.0-1, v5:MQTT-3.8.4-8
#[test]
fn mqtt_4_5_0_1_a_will_is_queued_for_sessions_without_connection() {
    let server = broker();
    let connect = Connect::v5("sleeper").expiry(600);
    let mut sleeper = server.begin(&connect);
    sleeper.subscribe("will", 1);
    sleeper.disconnect();
    server
        .connect(&Connect::v5("mortal").will(will().qos(2)))
        .cut();
    let mut sleeper = server.resume(&connect);
    assert_eq!(sleeper.receive().qos, 1);
    sleeper.expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-8
#[test]
fn mqtt_3_1_2_8_a_client_gets_its_own_will_when_it_is_back() {
    let server = broker();
    let connect = Connect::v5("mortal").expiry(600).will(will().qos(1));
    let mut client = server.begin(&connect);
    client.subscribe("will", 1);
    client.cut();
    let mut client = server.resume(&connect);
    let message = client.expect_message("will", "w");
    client.send(ack(Kind::Puback, message.id));
    client.send(Publish::new("other", "").qos(1, 1).bytes());
    client.expect_ack(Kind::Puback, 1);
    client.expect_nothing();
}
