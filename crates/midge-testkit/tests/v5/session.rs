//! Sessions: begin, resume, end.

use midge_testkit::{Connect, Kind, Publish, Subscribe, Will, ack, disconnect, id};

use midge::MemoryStore;

use crate::common::{broker, broker_set, broker_with, props};

fn persistent() -> Connect {
    Connect::v5("client").clean(false).expiry(600)
}

/// Covers: v5:MQTT-3.1.2-4
#[test]
fn mqtt_3_1_2_4_clean_start_throws_the_session_away() {
    let server = broker();
    let mut watcher = server.watcher("from client");
    let mut client = server.begin(&persistent());
    client.subscribe("t", 2);
    client.send(Publish::new("from client", "half done").qos(2, 7).bytes());
    client.expect_ack(Kind::Pubrec, 7);
    let mut publisher = server.client("publisher");
    publisher.publish("t", "in flight", 2);
    client.expect_message("t", "in flight");
    client.cut();
    publisher.publish("t", "queued", 1);

    let mut client = server.begin(&persistent().clean(true));
    client.expect_nothing();
    publisher.publish("t", "to nobody", 1);
    client.expect_nothing();
    // The identifier of the half-done flow stands for a new message.
    client.send(Publish::new("from client", "new").qos(2, 7).bytes());
    client.expect_ack(Kind::Pubrec, 7);
    client.send(ack(Kind::Pubrel, 7));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 7).code, 0);
    let arrived: Vec<String> = watcher
        .drain()
        .iter()
        .map(midge_testkit::Message::text)
        .collect();
    assert_eq!(
        arrived.iter().filter(|text| *text == "new").count(),
        1,
        "{arrived:?}"
    );
    client.disconnect();
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-5
#[test]
fn mqtt_3_1_2_5_a_session_goes_on_where_it_was() {
    let server = broker();
    let mut client = server.begin(&persistent());
    client.subscribe("t/#", 2);
    let mut publisher = server.client("publisher");
    publisher.publish("t/1", "released", 2);
    publisher.publish("t/2", "sent", 2);
    let released = client.expect_message("t/1", "released");
    let sent = client.expect_message("t/2", "sent");
    client.send(ack(Kind::Pubrec, released.id));
    client.expect_ack(Kind::Pubrel, released.id);
    client.cut();
    publisher.publish("t/3", "queued 1", 1);
    publisher.publish("t/4", "queued 2", 2);

    let mut client = server.resume(&persistent());
    client.expect_ack(Kind::Pubrel, released.id);
    client.send(ack(Kind::Pubcomp, released.id));
    let again = client.expect_message("t/2", "sent");
    assert!(again.dup && again.id == sent.id, "{again:?}");
    client.acknowledge(&again);
    assert_eq!(client.receive().text(), "queued 1");
    assert_eq!(client.receive().text(), "queued 2");
    publisher.publish("t/5", "live", 1);
    assert_eq!(client.receive().text(), "live");
    client.expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-6, v5:MQTT-3.2.2-3
#[test]
fn mqtt_3_1_2_6_without_a_session_a_new_one_begins() {
    let server = broker();
    let client = server.begin(&persistent());
    client.cut();
    server.resume(&persistent()).expect_nothing();
}

/// Covers: v5:MQTT-3.1.2-23, v5:MQTT-4.1.0-2, NN5-027, NN5-028
#[test]
fn mqtt_3_1_2_23_a_session_is_kept_for_its_expiry_interval() {
    let server = broker();
    let with = |seconds| Connect::v5("client").clean(false).expiry(seconds);
    server.begin(&with(3)).cut();
    server.pass(1);
    server.resume(&with(3)).disconnect();
    server.pass_ms(2_900);
    server.resume(&with(3)).disconnect();
    server.pass_ms(3_100);
    server.begin(&with(0)).cut();
    server
        .begin(&Connect::v5("client").clean(false))
        .disconnect();
    server.begin(&with(u32::MAX)).disconnect();
    for _ in 0..3 {
        server.pass(u64::from(u32::MAX));
        server.resume(&with(u32::MAX)).disconnect();
    }

    let (_client, connack) = server.answer(&with(u32::MAX));
    assert!(!connack.props.has(id::SESSION_EXPIRY_INTERVAL));

    // The largest interval that ends.
    let largest = Connect::v5("large").clean(false).expiry(u32::MAX - 1);
    server.begin(&largest).disconnect();
    server.pass(u64::from(u32::MAX) - 2);
    server.resume(&largest).disconnect();
    server.pass(u64::from(u32::MAX));
    server.begin(&largest);
}

/// Covers: NN5-029
#[test]
fn nn5_029_each_connect_sets_the_expiry_anew() {
    let server = broker();
    server.begin(&persistent()).disconnect();
    server.resume(&Connect::v5("client")).disconnect();
    server.begin(&persistent()).disconnect();
    server.resume(&Connect::v5("client").expiry(5)).disconnect();
    server.pass(6);
    server.begin(&persistent());
}

/// Covers: NN5-030
#[test]
fn nn5_030_a_capped_expiry_is_announced() {
    let server = broker_set(&[("limits.session_expiry_s", "10")]);
    for (asked, announced) in [(60, Some(10)), (u32::MAX, Some(10)), (10, None), (9, None)] {
        let (client, connack) = server.answer(&Connect::v5("client").expiry(asked));
        assert_eq!(
            connack.props.number(id::SESSION_EXPIRY_INTERVAL),
            announced,
            "{asked}"
        );
        client.disconnect();
    }

    let (client, connack) = server.answer(&Connect::v5("client"));
    assert!(!connack.props.has(id::SESSION_EXPIRY_INTERVAL));
    client.disconnect();
    server.begin(&persistent()).disconnect();
    server.pass_ms(9_900);
    server.resume(&persistent()).disconnect();
    server.pass_ms(10_100);
    server.begin(&persistent());
}

/// Covers: NN5-031
#[test]
fn nn5_031_disconnect_can_change_the_expiry() {
    let server = broker();
    let end = |connect: &Connect, expiry| {
        let mut client = server.connect(connect);
        client.send(disconnect(
            0,
            &props().u32(id::SESSION_EXPIRY_INTERVAL, expiry),
        ));
        client.expect_closed();
    };

    end(&persistent(), 0);
    server.begin(&persistent()).disconnect();
    end(&Connect::v5("client").clean(false).expiry(5), 60);
    server.pass(59);
    server.resume(&persistent()).disconnect();
    end(&persistent(), 5);
    server.pass(6);
    server.begin(&persistent());
    end(&Connect::v5("another"), 0);
}

/// Covers: NN5-032
#[test]
fn nn5_032_a_session_without_expiry_gets_none_in_the_end() {
    let server = broker();
    let mut watcher = server.watcher("will");
    for connect in [Connect::v5("client"), Connect::v5("client").expiry(0)] {
        let mut client = server.connect(&connect.will(Will::new("will", "w")));
        client.send(disconnect(0, &props().u32(id::SESSION_EXPIRY_INTERVAL, 60)));
        client.expect_disconnect(0x82);
        watcher.expect_message("will", "w");
        server
            .begin(&Connect::v5("client").clean(false))
            .disconnect();
    }
}

/// Covers: NN5-033, v5:MQTT-3.2.2-3
#[test]
fn nn5_033_sessions_are_shared_by_all_versions() {
    let server = broker();
    let old = Connect::new(4, "client").clean(false);
    let mut publisher = server.client("publisher");
    let mut client = server.begin(&old);
    client.subscribe("t", 1);
    client.disconnect();
    server.pass(u64::from(u32::MAX));
    publisher.publish("t", "1", 1);

    let mut client = server.resume(&persistent());
    client.expect_message("t", "1");
    client.cut();

    let mut client = server.resume(&old);
    let again = client.receive();
    assert!(again.dup, "{again:?}");
    publisher.publish("t", "2", 1);
    client.receive();
    client.disconnect();
    server
        .begin(&Connect::new(4, "client").clean(true))
        .disconnect();
    server.begin(&persistent());
}

/// Covers: NN5-034
#[test]
fn nn5_034_qos_0_is_queued_on_demand_only() {
    for (option, queued) in [("false", false), ("true", true)] {
        let server = broker_set(&[("mqtt.queue_qos0_offline", option)]);
        let mut client = server.begin(&persistent());
        client.request(&Subscribe::new(0).filter("t", 0).filter("u", 2));
        client.disconnect();
        let mut publisher = server.client("publisher");
        publisher.publish("t", "granted 0", 1);
        publisher.publish("u", "sent with 0", 0);
        publisher.publish("u", "sent with 1", 1);
        let mut client = server.resume(&persistent());
        if queued {
            assert_eq!(client.expect_message("t", "granted 0").qos, 0);
            assert_eq!(client.expect_message("u", "sent with 0").qos, 0);
        }
        assert_eq!(client.expect_message("u", "sent with 1").qos, 1);
        client.expect_nothing();
    }
}

/// Covers: NN5-035
#[test]
fn nn5_035_retained_messages_outlive_the_session() {
    let server = broker();
    let mut client = server.begin(&Connect::v5("client").expiry(1));
    client.retain("t", "r", 1);
    client.disconnect();
    server.pass(10);
    server.watcher("t").expect_message("t", "r");
}

/// Covers: NN5-036
#[test]
fn nn5_036_a_full_queue_drops_what_the_option_says() {
    for (policy, left) in [("drop_newest", 0..5u8), ("drop_oldest", 5..10)] {
        let server = broker_set(&[
            ("limits.session_queue_messages", "5"),
            ("overflow.session", policy),
        ]);
        let mut client = server.begin(&persistent());
        client.subscribe("t", 1);
        client.disconnect();
        let mut publisher = server.client("publisher");
        for number in 0..10u8 {
            publisher.deliver(&Publish::new("t", [number]).qos(1, 0));
        }
        let mut client = server.resume(&persistent());
        for number in left {
            assert_eq!(client.receive().payload, [number], "{policy}");
        }
        client.expect_nothing();
        publisher.publish("t", "live", 0);
        assert_eq!(client.receive().text(), "live");
    }
}

/// Covers: NN5-060
#[test]
fn nn5_060_resuming_brings_no_retained_messages() {
    let server = broker();
    server.client("publisher").retain("t", "r", 1);
    let mut client = server.begin(&persistent());
    client.subscribe("t", 1);
    client.receive();
    client.disconnect();
    let mut client = server.resume(&persistent());
    client.expect_nothing();
}

/// Covers: v5:MQTT-4.1.0-1
#[test]
fn mqtt_4_1_0_1_a_session_lasts_while_it_is_connected() {
    let server = broker();
    let connect = Connect::v5("client").expiry(1);
    let mut client = server.begin(&connect);
    client.subscribe("t", 2);

    let mut publisher = server.client("publisher");
    publisher.publish("t", "open", 2);

    let open = client.expect_message("t", "open");
    client.send(Publish::new("u", "").qos(2, 5).bytes());
    client.expect_ack(Kind::Pubrec, 5);
    server.pass(1000);
    publisher.publish("t", "later", 1);
    assert_eq!(client.receive().text(), "later");
    client.acknowledge(&open);
    client.send(ack(Kind::Pubrel, 5));
    assert_eq!(client.expect_ack(Kind::Pubcomp, 5).code, 0);

    // The interval begins to count when the connection ends.
    client.disconnect();
    server.pass_ms(900);
    server.resume(&connect).disconnect();
    server.pass_ms(1_100);
    server.begin(&connect);
}

/// Covers: v5:MQTT-4.1.0-2
#[test]
fn mqtt_4_1_0_2_nothing_is_left_of_an_expired_session() {
    let server = broker();
    let connect = Connect::v5("client").clean(false).expiry(5);
    let mut client = server.begin(&connect);
    client.request(&Subscribe::new(0).filter("t", 1).filter("$share/g/s", 1));
    client.disconnect();

    let mut publisher = server.client("publisher");
    publisher.publish("t", "queued", 1);
    server.pass(6);

    // The member that is gone takes no share any more.
    let mut member = server.client("member");
    member.subscribe("$share/g/s", 1);
    for _ in 0..4 {
        publisher.publish("s", "x", 1);
        member.receive();
    }

    let mut client = server.begin(&connect);
    publisher.publish("t", "new", 1);
    publisher.publish("s", "x", 1);
    client.expect_nothing();
    member.receive();
}

/// Covers: v5:MQTT-4.5.0-1
#[test]
fn mqtt_4_5_0_1_a_message_is_added_to_every_matching_session() {
    let server = broker();
    let names: Vec<String> = (0..6).map(|number| format!("client {number}")).collect();
    let session = |name: &String| Connect::v5(name).clean(false).expiry(600);
    let mut connected = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let mut client = server.begin(&session(name));
        client.subscribe(["t/#", "t/+", "t/x"][number % 3], 2);
        if number < 3 {
            client.disconnect();
        } else {
            connected.push(client);
        }
    }

    let mut publisher = server.client("publisher");
    for qos in 1..3 {
        publisher.publish("t/x", [qos], qos);
    }

    publisher.cut();
    for client in &mut connected {
        assert_eq!(client.receive().payload, [1]);
        assert_eq!(client.receive().payload, [2]);
        client.expect_nothing();
    }

    for name in &names[..3] {
        let mut client = server.resume(&session(name));
        assert_eq!(client.receive().payload, [1]);
        assert_eq!(client.receive().payload, [2]);
        client.expect_nothing();
    }
}

/// Covers: none
#[test]
fn a_session_belongs_to_the_user_that_made_it() {
    let users = [None, Some("guest"), Some("admin"), Some("")];
    let connect = |version: u8, clean: bool, user: Option<&str>| {
        let connect = Connect::new(version, "client").clean(clean);
        let connect = match user {
            Some(user) => connect.user(user),
            None => connect,
        };
        match version {
            5 => connect.expiry(600),
            _ => connect,
        }
    };
    for (version, code) in [(3, 5), (4, 5), (5, 0x87)] {
        for owner in users {
            let server = broker();
            let mut publisher = server.client("publisher");
            let mut client = server.begin(&connect(version, false, owner));
            client.subscribe("t", 1);
            for other in users.into_iter().filter(|user| *user != owner) {
                for clean in [false, true] {
                    // No other user takes over its connection.
                    let (mut refused, connack) = server.answer(&connect(version, clean, other));
                    assert_eq!(connack.code, code, "{other:?} for {owner:?}");
                    refused.expect_closed();
                }
            }

            publisher.publish("t", "live", 0);
            client.expect_message("t", "live");
            client.cut();
            for other in users.into_iter().filter(|user| *user != owner) {
                for clean in [false, true] {
                    // No other user resumes or clears it.
                    let (_, connack) = server.answer(&connect(version, clean, other));
                    assert_eq!(connack.code, code, "{other:?} for {owner:?}");
                }
            }
            publisher.publish("t", "queued", 1);
            // 3.1 does not say that a session was there.
            let again = connect(version, false, owner);
            let mut client = match version {
                3 => server.connect(&again),
                _ => server.resume(&again),
            };
            client.expect_message("t", "queued");
            let sessions = server.sessions();
            let known = sessions
                .iter()
                .find(|session| &*session.client_id == "client");
            assert_eq!(known.and_then(|session| session.username.as_deref()), owner);

            // Its owner ends it; from then on any user may have it.
            client.cut();
            server.begin(&connect(version, true, owner)).disconnect();
            server.clear_session("client");
            server.begin(&connect(version, true, Some("new")));
        }
    }
}

/// Covers: none
#[test]
fn a_session_is_for_any_user_where_the_option_says_so() {
    let server = broker_set(&[("lenient.session_user", "true")]);
    let mut publisher = server.client("publisher");
    let mut client = server.begin(&persistent().user("admin"));
    client.subscribe("t", 1);
    let mut other = server.resume(&persistent().user("guest"));
    client.expect_disconnect(0x8e);
    publisher.publish("t", "1", 1);
    other.expect_message("t", "1");
    other.cut();
    server.begin(&persistent().clean(true));
}

/// Covers: none
#[test]
fn a_stored_session_keeps_its_user() {
    let store = MemoryStore::new();
    let stored = || broker_with(|builder| builder.store(store.clone()));
    let server = stored();
    server.begin(&persistent().user("admin")).cut();
    drop(server);
    let server = stored();
    let (_, connack) = server.answer(&persistent().user("guest"));
    assert_eq!(connack.code, 0x87);
    server.resume(&persistent().user("admin"));
}
