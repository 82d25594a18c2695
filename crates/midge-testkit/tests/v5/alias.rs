//! Topic aliases.

use midge_testkit::{Connect, Publish, Subscribe, id};

use crate::common::{Holder, broker, broker_set, props};

/// Covers: v5:MQTT-3.1.2-26, v5:MQTT-3.3.2-11
#[test]
fn mqtt_3_1_2_26_aliases_of_the_broker_stay_within_the_maximum() {
    for maximum in [1, 2, 65_535] {
        let server = broker();
        let mut client = server.connect(&Connect::v5("client").topic_alias_maximum(maximum));
        client.subscribe("t/#", 1);
        let mut publisher = server.client("publisher");
        let mut aliased = 0;
        for round in 0..20u8 {
            for number in 0..5 {
                let topic = format!("t/{number}");
                publisher.publish(&topic, [round], round % 2);
                // The client resolves aliases and checks that each is within the maximum.
                let message = client.receive();
                assert_eq!(
                    (&message.topic, &message.payload[..]),
                    (&topic, &[round][..])
                );
                aliased += usize::from(message.written_topic.is_empty());
            }
        }
        assert!(aliased > 0, "no alias was used, so nothing was tested");
    }
}

/// Covers: v5:MQTT-3.1.2-27, NN5-072
#[test]
fn mqtt_3_1_2_27_without_a_maximum_there_are_no_aliases() {
    let server = broker();
    let mut clients = vec![
        server.client("absent"),
        server.connect(&Connect::v5("zero").topic_alias_maximum(0)),
        server.connect(&Connect::new(4, "old")),
    ];

    for client in &mut clients {
        client.subscribe("topic", 1);
    }

    let mut publisher = server.client("publisher");
    publisher.send(Publish::new("topic", "0").alias(1).bytes());
    publisher.send(Publish::new("", "1").alias(1).bytes());
    publisher.deliver(&Publish::new("", "2").qos(1, 0).alias(1).retain());
    clients.push(server.client("late"));
    clients[3].subscribe("topic", 1);
    for client in &mut clients[..3] {
        for number in ["0", "1"] {
            assert!(client.expect_message("topic", number).props.is_empty());
        }
    }

    for client in &mut clients {
        let message = client.receive();
        assert_eq!(
            (message.written_topic.as_str(), message.text().as_str()),
            ("topic", "2")
        );
        assert!(message.props.is_empty(), "{message:?}");
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-3.3.2-7
#[test]
fn mqtt_3_3_2_7_aliases_of_a_client_end_with_its_connection() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let connect = Connect::v5("client").clean(false).expiry(600);
    let mut client = server.begin(&connect);
    client.deliver(&Publish::new("t", "p").qos(1, 0).alias(1));
    watcher.expect_message("t", "p");
    client.disconnect();
    let mut client = server.resume(&connect);
    client.send(Publish::new("", "p").alias(1).bytes());
    client.expect_disconnect(0x82);
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-7, NN5-074
#[test]
fn mqtt_3_3_2_7_aliases_of_the_broker_end_with_the_connection() {
    let server = broker();
    let connect = Connect::v5("client")
        .clean(false)
        .expiry(600)
        .topic_alias_maximum(9);
    let mut client = server.begin(&connect);
    client.subscribe("topic", 1);

    let mut publisher = server.client("publisher");
    for _ in 0..3 {
        publisher.publish("topic", "p", 1);
    }

    for _ in 0..3 {
        client.expect_publish();
    }

    client.cut();

    // The messages were aliased when they were sent first; the mapping must be told anew.
    let mut client = server.resume(&connect);
    assert_eq!(client.expect_publish().written_topic, "topic");
    for _ in 0..2 {
        assert_eq!(client.expect_publish().topic, "topic");
    }

    client.cut();

    let mut client = server.resume(&Connect::v5("client").expiry(600));
    for _ in 0..3 {
        assert_eq!(client.expect_publish().written_topic, "topic");
    }
}

/// Covers: v5:MQTT-3.3.2-8, NN5-069
#[test]
fn mqtt_3_3_2_8_alias_0_is_refused() {
    let server = broker();
    let mut watcher = server.watcher("#");
    for topic in ["t", ""] {
        let bytes = Publish::new(topic, "p").alias(0).bytes();
        server.refuses(Holder::Publish, &bytes, &[0x94]);
    }
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-12, NN5-071
#[test]
fn mqtt_3_3_2_12_every_alias_up_to_the_maximum_is_accepted() {
    for (option, maximum) in [("32", 32u16), ("65535", 65_535)] {
        let server = broker_set(&[("mqtt.topic_alias_maximum", option)]);
        let mut watcher = server.watcher("#");
        let (mut client, connack) = server.answer(&Connect::v5("client"));
        let announced = connack.props.number(id::TOPIC_ALIAS_MAXIMUM);
        assert_eq!(announced, Some(u32::from(maximum)));
        let step = usize::from(maximum / 32);
        let aliases: Vec<u16> = (1..maximum).step_by(step).chain([maximum]).collect();
        for alias in &aliases {
            client.send(
                Publish::new(format!("t/{alias}"), "new")
                    .alias(*alias)
                    .bytes(),
            );
            watcher.expect_message(&format!("t/{alias}"), "new");
        }
        for alias in aliases.iter().rev() {
            client.send(Publish::new("", "known").alias(*alias).bytes());
            watcher.expect_message(&format!("t/{alias}"), "known");
        }
        client.send(Publish::new("u", "mapped").alias(1).bytes());
        client.send(Publish::new("", "again").alias(1).bytes());
        client.send(Publish::new("", "other").alias(maximum).bytes());
        client.send(Publish::new("t/1", "plain").bytes());
        watcher.expect_message("u", "mapped");
        watcher.expect_message("u", "again");
        watcher.expect_message(&format!("t/{maximum}"), "other");
        watcher.expect_message("t/1", "plain");
    }
}

/// Covers: NN5-070
#[test]
fn nn5_070_an_alias_without_mapping_is_a_protocol_error() {
    let server = broker();
    let mut watcher = server.watcher("#");
    server.refuses(
        Holder::Publish,
        &Publish::new("", "p").alias(1).bytes(),
        &[0x82],
    );
    let both = [
        Publish::new("t", "mapped").alias(1).bytes(),
        Publish::new("", "p").alias(2).bytes(),
    ];
    server.refuses(Holder::Publish, &both.concat(), &[0x82]);
    watcher.expect_message("t", "mapped");
    watcher.expect_nothing();
}

/// Covers: NN5-073
#[test]
fn nn5_073_a_refused_publish_sets_its_alias() {
    let server = broker();
    let mut watcher = server.watcher("#");
    let mut client = server.client("client");
    // A topic that clients may not publish to.
    let denied = client.deliver(&Publish::new("$SYS/x", "p").qos(1, 0).alias(1));
    assert!(denied >= 0x80, "{denied:#04x}");
    assert_eq!(
        client.deliver(&Publish::new("", "p").qos(1, 0).alias(1)),
        denied
    );
    client.deliver(&Publish::new("t", "p").qos(1, 0).alias(1));
    watcher.receive();
    watcher.expect_nothing();
}

/// Covers: v5:MQTT-3.3.2-12
#[test]
fn mqtt_3_3_2_12_aliases_of_the_two_directions_are_apart() {
    let server = broker();
    let mut client = server.connect(&Connect::v5("client").topic_alias_maximum(1));
    client.request(&Subscribe::new(0).filter("in", 0).filter("out", 0));
    let mut other = server.client("other");
    client.send(Publish::new("out", "1").props(props()).alias(1).bytes());
    client.expect_message("out", "1");
    for _ in 0..2 {
        other.publish("in", "2", 0);
        client.expect_message("in", "2");
    }
    client.send(Publish::new("", "3").alias(1).bytes());
    client.expect_message("out", "3");
    other.publish("in", "4", 0);
    client.expect_message("in", "4");
}
