//! Wills of 3.1.1 clients.

use midge_testkit::{Client, Connect, Publish, Will};

use crate::common::{Server, broker};
use crate::{client, kept, v311, watcher};

fn mortal() -> Connect {
    v311("mortal").will(Will::new("will", "w").qos(1))
}

/// A connected client with a will.
#[track_caller]
fn connected(server: &Server) -> Client {
    server.connect(&mortal())
}

/// Covers: v3:MQTT-3.1.2-8, U311-05, v3:MQTT-3.1.4-2
#[test]
fn mqtt311_3_1_2_8_the_will_follows_every_end_but_disconnect() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let gets_it = |watcher: &mut Client| {
        let message = watcher.receive();
        assert_eq!((message.text().as_str(), message.qos), ("w", 1));
        assert!(!message.retain && !message.dup, "{message:?}");
        watcher.expect_nothing();
    };
    // The clock stands still: the will is not put off.
    connected(&server).cut();
    gets_it(&mut watcher);

    let mut half = connected(&server);
    half.send(&Publish::new("t", "cut off").bytes_for(4)[..5]);
    half.cut();
    gets_it(&mut watcher);

    let mut silent = server.connect(&mortal().keep_alive(2));
    server.pass_ms(3_100);
    silent.expect_closed();
    gets_it(&mut watcher);

    for violation in [&[0xf0, 0][..], &[0x36, 5, 0, 1, b't', 0, 1], &[0xe1, 0]] {
        let mut wrong = connected(&server);
        wrong.send(violation);
        wrong.expect_closed();
        gets_it(&mut watcher);
    }

    let mut old = connected(&server);
    let new = server.connect(&v311("mortal"));
    old.expect_closed();
    gets_it(&mut watcher);
    new.disconnect();
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-8, v3:MQTT-3.1.2-10, v3:MQTT-3.14.4-3
#[test]
fn mqtt311_3_14_4_3_disconnect_throws_the_will_away() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    connected(&server).disconnect();
    watcher.expect_nothing();
    // Whatever else is on its way in the same segment.
    let mut client = connected(&server);
    client.send([&[0xe0, 0][..], &[0xf0, 0]].concat());
    client.expect_closed();
    server
        .connect(&kept("mortal").will(Will::new("will", "w")))
        .disconnect();
    server.pass(1_000_000);
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-10, v3:MQTT-3.1.2-12
#[test]
fn mqtt311_3_1_2_12_without_will_flag_there_is_no_will() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let with = kept("mortal").will(Will::new("will", "w"));
    server.connect(&v311("mortal")).cut();
    watcher.expect_nothing();
    server.begin(&with).cut();
    watcher.expect_message("will", "w");
    // The will of a former connection belonged to that connection, not to the session.
    server.resume(&kept("mortal")).cut();
    watcher.expect_nothing();
    server.resume(&with).disconnect();
    server.resume(&kept("mortal")).cut();
    server.pass(1_000_000);
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-16
#[test]
fn mqtt311_3_1_2_16_a_will_without_retain_is_not_stored() {
    let server = broker();
    client(&server, "publisher").retain("will", "before", 1);
    connected(&server).cut();
    let mut late = watcher(&server, "will");
    assert_eq!(late.receive().text(), "before");
    late.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-17
#[test]
fn mqtt311_3_1_2_17_a_will_with_retain_is_stored() {
    let server = broker();
    let mut live = watcher(&server, "will/+");
    for qos in 0..3 {
        let topic = format!("will/{qos}");
        let will = Will::new(&topic, "w").qos(qos).retain();
        server.connect(&v311("mortal").will(will)).cut();
        let message = live.receive();
        assert_eq!((message.retain, message.qos), (false, qos), "{message:?}");
    }

    let mut late = client(&server, "late");
    late.subscribe("will/#", 2);
    for _ in 0..3 {
        let message = late.receive();
        assert!(message.retain, "{message:?}");
        assert_eq!(message.topic, format!("will/{}", message.qos));
    }

    // An empty one clears.
    let will = Will::new("will/1", "").retain();
    server.connect(&v311("mortal").will(will)).cut();
    live.expect_message("will/1", "");
    assert_eq!(server.retained("will/#").len(), 2);
}

/// Covers: U311-08
#[test]
fn u311_08_the_payload_is_published_without_its_length() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let any: Vec<u8> = (0..=255).collect();
    for payload in [&b""[..], b"x", b"\0\x02ab", &any, &vec![7; 65_535]] {
        let will = Will::new("will", payload);
        server.connect(&v311("mortal").will(will)).cut();
        watcher.expect_message("will", payload);
    }
}

/// Covers: v3:MQTT-4.5.0-1, v3:MQTT-3.1.2-5
#[test]
fn mqtt311_4_5_0_1_a_will_waits_for_sessions_without_connection() {
    let server = broker();
    let mut sleeper = server.begin(&kept("sleeper"));
    sleeper.subscribe("will", 1);
    sleeper.disconnect();
    connected(&server).cut();
    let mut sleeper = server.resume(&kept("sleeper"));
    assert_eq!(sleeper.receive().text(), "w");
    sleeper.expect_nothing();
}
