//! Wills.

use midge_testkit::{Publish, Will};

use crate::common::broker;
use crate::{old, v4, watcher};

/// Covers: v3:MQTT-3.1.2-8, U311-05, U311-08, V31-15
#[test]
fn mqtt311_3_1_2_8_the_will_follows_every_end_but_disconnect() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    let payload = [0, 0xff, 0x80];
    let connect = || v4("c").will(Will::new("will", payload).qos(2));
    server.connect(&connect()).cut();
    assert_eq!(watcher.receive().payload, payload);
    let mut broken = server.connect(&connect());
    broken.send([0x36, 0]);
    broken.expect_closed_with(&[]);
    let message = watcher.receive();
    assert_eq!((message.payload, message.qos), (payload.to_vec(), 2));
    server.disconnect("nobody", midge::ReasonCode::AdministrativeAction);
    let mut kicked = server.connect(&connect());
    assert!(server.disconnect("c", midge::ReasonCode::AdministrativeAction));
    kicked.expect_closed_with(&[]);
    assert_eq!(watcher.receive().payload, payload);
}

/// Covers: v3:MQTT-3.14.4-3, v3:MQTT-3.1.2-10, v3:MQTT-3.1.2-12, v3:MQTT-3.14.4-2, U311-16
#[test]
fn mqtt311_3_14_4_3_disconnect_discards_the_will() {
    let server = broker();
    let mut watcher = watcher(&server, "#");
    let connect = v4("c").will(Will::new("will", "w"));
    let mut client = server.connect(&connect);
    let mut bytes = vec![0xe0, 0];
    bytes.extend(Publish::new("t", "late").retain().bytes_for(4));
    client.send(bytes);
    client.expect_closed_with(&[]);
    watcher.expect_nothing();
    assert!(server.retained("#").is_empty());
    // Used once, and not by a later connection without one.
    server.connect(&connect).cut();
    watcher.expect_message("will", "w");
    server.connect(&v4("c")).cut();
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.2-16, v3:MQTT-3.1.2-17
#[test]
fn mqtt311_3_1_2_17_will_retain_says_whether_it_is_retained() {
    let server = broker();
    server.connect(&v4("c").will(Will::new("plain", "w"))).cut();
    server
        .connect(&v4("c").will(Will::new("kept", "w").retain()))
        .cut();
    let mut late = old(&server, "late");
    late.subscribe("#", 0);
    assert!(late.expect_message("kept", "w").retain);
    late.expect_nothing();
    server
        .connect(&v4("c").will(Will::new("kept", "").retain()))
        .cut();
    assert!(server.retained("#").is_empty());
}
