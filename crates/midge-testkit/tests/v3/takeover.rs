//! A second connection with the same client identifier.

use midge_testkit::{Connect, Kind, Publish, Will, ack};

use crate::common::broker;
use crate::{client, kept, v311, watcher};

/// Covers: v3:MQTT-3.1.4-2, v3:MQTT-3.1.2-8
#[test]
fn mqtt311_3_1_4_2_the_older_connection_is_closed() {
    let server = broker();
    let mut watcher = watcher(&server, "will");
    for (old_clean, new_clean) in [(true, true), (true, false), (false, true), (false, false)] {
        let will = Will::new("will", "w");
        let connect = v311("client").clean(old_clean).will(will);
        let mut old = server.connect(&connect);
        let (mut new, connack) = server.answer(&v311("client").clean(new_clean));
        assert_eq!(connack.code, 0);
        assert_eq!(connack.session_present, !old_clean && !new_clean);
        old.expect_closed();
        watcher.expect_message("will", "w");
        new.expect_nothing();
        assert_eq!(server.clients().len(), 2);
        new.disconnect();
        server.begin(&v311("client")).disconnect();
    }
    watcher.expect_nothing();
}

/// Covers: v3:MQTT-3.1.4-2, v3:MQTT-4.4.0-1
#[test]
fn mqtt311_3_1_4_2_the_new_connection_goes_on_with_the_session() {
    let server = broker();
    let mut publisher = client(&server, "publisher");
    let mut old = server.begin(&kept("client"));
    old.subscribe("t", 2);
    publisher.publish("t", "1", 1);
    publisher.publish("t", "2", 2);

    let one = old.expect_message("t", "1");
    let two = old.expect_message("t", "2");
    let mut new = server.resume(&kept("client"));

    // What the older connection says now counts for nothing.
    old.send(ack(Kind::Puback, one.id));
    old.send(ack(Kind::Pubrec, two.id));
    old.send(Publish::new("t", "too late").qos(1, 5).bytes_for(4));
    old.expect_closed();

    let again = new.expect_message("t", "1");
    assert!(again.dup && again.id == one.id, "{again:?}");

    let again = new.expect_message("t", "2");
    assert!(again.dup && again.id == two.id, "{again:?}");
    publisher.publish("t", "3", 1);
    new.expect_message("t", "3");
    new.expect_nothing();
}

/// Covers: v3:MQTT-3.1.4-2
#[test]
fn mqtt311_3_1_4_2_of_many_connections_the_last_one_stays() {
    let server = broker();
    let mut all: Vec<_> = (0..20)
        .map(|number| {
            // Any version takes over from any other.
            let version = [3, 4, 5][number % 3];
            let (client, connack) = server.answer(&Connect::new(version, "client"));
            assert_eq!(connack.code, 0);
            client
        })
        .collect();
    let mut last = all.pop().expect("the last one");
    for (number, client) in all.iter_mut().enumerate() {
        if number % 3 == 2 {
            client.expect_disconnect(0x8e);
        } else {
            client.expect_closed();
        }
    }

    last.expect_nothing();
    assert_eq!(server.clients().len(), 1);
}
