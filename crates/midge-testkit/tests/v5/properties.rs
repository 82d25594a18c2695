//! Properties: which packet may have which, how often, with which values; and their forwarding.

use midge_testkit::{Client, Connect, Kind, Message, PropsBuf, Publish, Subscribe, Will, Wire, id};

use crate::common::{Holder, broker, broker_with, props};

/// A property with a legal value.
fn legal(property: u8) -> PropsBuf {
    match property {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => props().u8(property, 1),
        0x13 | 0x21 | 0x22 | 0x23 => props().u16(property, 1),
        0x02 | 0x11 | 0x18 => props().u32(property, 1),
        0x27 => props().u32(property, 1000),
        0x0b => props().var(property, 1),
        0x26 => props().user("n", "v"),
        _ => props().text(property, "x"),
    }
}

/// What has to stand beside a property, so that nothing else is wrong with the packet.
fn beside(holder: Holder, property: u8) -> PropsBuf {
    match (holder, property) {
        (Holder::Auth, id::AUTHENTICATION_METHOD) => props(),
        (Holder::Auth, _) | (Holder::Connect, id::AUTHENTICATION_DATA) => {
            legal(id::AUTHENTICATION_METHOD)
        }
        _ => props(),
    }
}

/// Covers: NN5-007, v5:MQTT-3.1.4-1
#[test]
fn nn5_007_a_property_of_another_packet_is_malformed() {
    let server = broker();

    for holder in Holder::ALL {
        for property in id::ALL {
            if holder.allowed().contains(&property) {
                continue;
            }
            println!("{property:#04x} in {holder:?}");
            let block = beside(holder, property).raw(legal(property).0);
            let publish_id = holder == Holder::Publish && property == id::SUBSCRIPTION_IDENTIFIER;
            let code = if publish_id { 0x82 } else { 0x81 };
            server.refuses(holder, &holder.packet(&block), &[code]);
        }
        for unknown in [
            0x00, 0x04, 0x07, 0x0a, 0x10, 0x14, 0x1b, 0x1d, 0x20, 0x2b, 0x7f,
        ] {
            let block = beside(holder, unknown).raw([unknown, 0, 0, 0, 0]);
            server.refuses(holder, &holder.packet(&block), &[0x81]);
        }
        // An identifier is a Variable Byte Integer; this one is beyond the table.
        let block = beside(holder, 0).raw([0x81, 0x01, 0, 0]);
        server.refuses(holder, &holder.packet(&block), &[0x81]);
    }
}

/// Covers: NN5-009, v5:MQTT-3.1.4-1
#[test]
fn nn5_009_a_property_occurs_once() {
    let server = broker();
    for holder in Holder::ALL {
        for property in holder.allowed() {
            if *property == id::USER_PROPERTY {
                continue;
            }
            println!("{property:#04x} in {holder:?}");
            let twice = legal(*property).raw(legal(*property).0);
            let block = beside(holder, *property).raw(twice.0);
            server.refuses(holder, &holder.packet(&block), &[0x82]);
        }
    }
}

/// Covers: NN5-010
#[test]
fn nn5_010_byte_properties_are_0_or_1() {
    let server = broker();
    for (holder, property) in [
        (Holder::Connect, id::REQUEST_PROBLEM_INFORMATION),
        (Holder::Connect, id::REQUEST_RESPONSE_INFORMATION),
        (Holder::Will, id::PAYLOAD_FORMAT_INDICATOR),
        (Holder::Publish, id::PAYLOAD_FORMAT_INDICATOR),
    ] {
        for value in [2, 255] {
            server.refuses(
                holder,
                &holder.packet(&props().u8(property, value)),
                &[0x82],
            );
        }
    }
}

/// Covers: NN5-011
#[test]
fn nn5_011_a_property_block_ends_within_its_packet() {
    let server = broker();
    let user = props().user("name", "value").0;
    for length in [user.len() - 1, user.len() + 1, 127, 268_435_455] {
        let block = Wire::new().var(length).raw(&user).0;
        let connect = Wire::new()
            .text("MQTT")
            .u8(5)
            .u8(2)
            .u16(0)
            .raw(&block)
            .packet(0x10);
        server.refuses(Holder::Connect, &connect, &[0x81]);
        let publish = Wire::new().text("t").raw(&block).packet(0x30);
        server.refuses(Holder::Publish, &publish, &[0x81]);
        let puback = Wire::new().u16(1).u8(0).raw(&block).packet(0x40);
        server.refuses(Holder::Puback, &puback, &[0x81]);
        let disconnect = Wire::new().u8(0).raw(&block).packet(0xe0);
        server.refuses(Holder::Disconnect, &disconnect, &[0x81]);
    }

    for cut in [
        props().raw([0x01]),
        props().raw([0x02, 0, 0, 0]),
        props().raw([0x03, 0]),
        props().raw([0x03, 0, 5, b'a']),
        props().raw([0x09, 0xff, 0xff]),
        props().raw([0x26, 0, 1, b'n']),
    ] {
        server.refuses(Holder::Publish, &Holder::Publish.packet(&cut), &[0x81]);
    }

    let cut = Subscribe::new(1)
        .props(props().raw([0x0b]))
        .filter("t", 0)
        .bytes();
    server.refuses(Holder::Subscribe, &cut, &[0x81]);

    let cut = Subscribe::new(1)
        .props(props().raw([0x0b, 0x80]))
        .filter("t", 0)
        .bytes();
    server.refuses(Holder::Subscribe, &cut, &[0x81]);
}

/// Everything that a publisher may say about a message but for expiry and alias.
fn everything() -> PropsBuf {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let mut all = props()
        .text(id::CONTENT_TYPE, "text/plain; charset=\u{1f980}")
        .user("z", "1")
        .text(id::CORRELATION_DATA, all_bytes)
        .u8(id::PAYLOAD_FORMAT_INDICATOR, 1)
        .text(id::RESPONSE_TOPIC, "answers/here");
    for number in 0..8 {
        all = all.user(["a", "b", ""][number % 3], ["", "x", "x"][number % 3]);
    }
    all
}

/// The message has [`everything`].
#[track_caller]
fn assert_everything(message: &Message) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let props = &message.props;
    assert_eq!(
        props.text(id::CONTENT_TYPE),
        Some("text/plain; charset=\u{1f980}")
    );
    assert_eq!(props.binary(id::CORRELATION_DATA), Some(&all_bytes[..]));
    assert_eq!(props.number(id::PAYLOAD_FORMAT_INDICATOR), Some(1));
    assert_eq!(props.text(id::RESPONSE_TOPIC), Some("answers/here"));

    let users = [
        ("z", "1"),
        ("a", ""),
        ("b", "x"),
        ("", "x"),
        ("a", ""),
        ("b", "x"),
        ("", "x"),
        ("a", ""),
        ("b", "x"),
    ];
    assert_eq!(props.users(), users);
    assert_eq!(props.0.len(), 4 + users.len(), "{props:?}");
}

/// Covers: v5:MQTT-3.3.2-4, v5:MQTT-3.3.2-15, v5:MQTT-3.3.2-16, v5:MQTT-3.3.2-17, v5:MQTT-3.3.2-18, v5:MQTT-3.3.2-20, v5:MQTT-3.1.3-10, NN5-022
#[test]
fn mqtt_3_3_2_17_properties_of_a_message_are_forwarded_unaltered() {
    let server = broker();
    let sleeper = Connect::v5("sleeper").expiry(600);
    let mut queued = server.connect(&sleeper);
    queued.subscribe("m/#", 2);
    queued.disconnect();

    let mut live = server.watcher("m/#");
    let mut publisher = server.client("publisher");
    for qos in 0..3 {
        publisher.deliver(&Publish::new("m/plain", "p").qos(qos, 0).props(everything()));
        assert_everything(&live.receive());
        let retained = Publish::new("m/retained", "r")
            .qos(qos, 0)
            .props(everything())
            .retain();
        publisher.deliver(&retained);
        assert_everything(&live.receive());
        let mut late = server.client("late");
        late.subscribe("m/retained", 2);
        assert_everything(&late.receive());
    }
    let will = Will::new("m/will", "w").qos(1).props(everything());
    server.connect(&Connect::v5("dies").will(will)).cut();
    assert_everything(&live.receive());

    let mut queued = server.resume(&sleeper);
    for _ in 0..5 {
        assert_everything(&queued.receive());
    }
    queued.expect_nothing();
}

/// What arrives when a client publishes with a property block.
#[track_caller]
fn forwarded(publisher: &mut Client, watcher: &mut Client, block: PropsBuf) -> Message {
    publisher.deliver(&Publish::new("m", "p").qos(1, 0).props(block));
    watcher.receive()
}

/// Covers: v5:MQTT-3.3.2-4, NN5-066
#[test]
fn mqtt_3_3_2_4_payload_format_is_0_1_or_absent_as_it_was_sent() {
    let server = broker();
    let mut watcher = server.watcher("m");
    let mut publisher = server.client("publisher");
    for value in [0, 1] {
        let block = props().u8(id::PAYLOAD_FORMAT_INDICATOR, value);
        let message = forwarded(&mut publisher, &mut watcher, block);
        let format = message.props.number(id::PAYLOAD_FORMAT_INDICATOR);
        assert_eq!(format, Some(u32::from(value)));
    }
    assert!(
        forwarded(&mut publisher, &mut watcher, props())
            .props
            .is_empty()
    );
}

/// Covers: v5:MQTT-3.3.2-16, NN5-119
#[test]
fn mqtt_3_3_2_16_correlation_data_of_any_length_comes_back_with_the_answer() {
    let server = broker();
    let mut responder = server.watcher("questions");
    let mut asker = server.client("asker");
    asker.subscribe("answers", 1);

    for length in [0, 1, 65_535] {
        let data: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let block = props().text(id::CORRELATION_DATA, &data);
        let block = block.text(id::RESPONSE_TOPIC, "answers");
        asker.deliver(&Publish::new("questions", "?").qos(1, 0).props(block));
        let question = responder.receive();
        let topic = question
            .props
            .text(id::RESPONSE_TOPIC)
            .expect("a response topic");
        let same = question
            .props
            .binary(id::CORRELATION_DATA)
            .expect("correlation data");
        let block = props().text(id::CORRELATION_DATA, same);
        responder.deliver(&Publish::new(topic, "!").qos(1, 0).props(block));
        let answer = asker.receive();
        assert_eq!(answer.props.binary(id::CORRELATION_DATA), Some(&data[..]));
    }
}

/// Covers: NN5-008
#[test]
fn nn5_008_properties_come_in_any_order() {
    let server = broker();
    let mut watcher = server.watcher("m");
    let connect = [
        props().u32(id::SESSION_EXPIRY_INTERVAL, 100),
        props().u16(id::RECEIVE_MAXIMUM, 1),
        props().u16(id::TOPIC_ALIAS_MAXIMUM, 0),
        props().u32(id::MAXIMUM_PACKET_SIZE, 40),
        props().user("n", "v"),
    ];
    let publish = [
        props().u8(id::PAYLOAD_FORMAT_INDICATOR, 1),
        props().u16(id::TOPIC_ALIAS, 1),
        props().text(id::CONTENT_TYPE, "c"),
        props().u32(id::MESSAGE_EXPIRY_INTERVAL, 9),
        props().user("n", "v"),
    ];

    for turn in 0..5 {
        let mut order = connect.to_vec();
        order.rotate_left(turn);
        let block = order.into_iter().fold(props(), |all, one| all.raw(one.0));
        let mut client = server.connect(&Connect::v5("shuffled").props(block));
        client.subscribe("t", 1);
        let mut order = publish.to_vec();
        order.rotate_left(turn);
        let block = order.into_iter().fold(props(), |all, one| all.raw(one.0));
        client.deliver(&Publish::new("m", "p").qos(1, 0).props(block));
        let message = watcher.receive();
        assert_eq!(message.props.text(id::CONTENT_TYPE), Some("c"));
        assert_eq!(message.props.number(id::MESSAGE_EXPIRY_INTERVAL), Some(9));
        assert_eq!(message.props.number(id::PAYLOAD_FORMAT_INDICATOR), Some(1));
        assert_eq!(message.props.users(), [("n", "v")]);
        // Receive Maximum and Maximum Packet Size rule here too: the client's reads check them.
        client.publish("t", "1", 1);
        client.publish("t", [b'x'; 60], 1);
        client.publish("t", "2", 1);
        let first = client.expect_message("t", "1");
        client.expect_nothing();
        client.acknowledge(&first);
        client.expect_message("t", "2");
    }
}

/// Puts a message with these properties in place of each one.
struct Replacer(midge::PropertiesBuf, bool);

impl midge::Hooks for Replacer {
    fn set(&self) -> midge::HookSet {
        match self.1 {
            false => midge::HookSet::INTERCEPT_PUBLISH,
            true => midge::HookSet::INTERCEPT_DELIVERY,
        }
    }

    fn intercept_publish(
        &self,
        _: &midge::Origin,
        message: &midge::MessageRef<'_>,
    ) -> midge::Interception {
        let mut other = midge::OwnedMessage::from(message);
        other.properties = self.0.clone();
        midge::Interception::Replace(Box::new(other))
    }

    fn intercept_delivery(
        &self,
        _: &str,
        message: &midge::KeptMessage,
        _: midge::QoS,
    ) -> midge::DeliveryVerdict {
        let mut other = midge::OwnedMessage::new(message.topic(), message.payload().to_vec());
        other.properties = self.0.clone();
        midge::DeliveryVerdict::Replace(Box::new(other))
    }
}

/// Covers: NN5-007, NN5-009
#[test]
fn nn5_007_the_host_cannot_send_a_property_twice() {
    use midge::Property::{ContentType, PayloadFormatIndicator, ResponseTopic, UserProperty};
    let server = broker();
    let mut watcher = server.watcher("t");
    let message = server.message("t").content_type("one").content_type("two");
    let message = message.response_topic("a").response_topic("b");
    let message = message.payload_format_utf8().payload_format_utf8();
    let message = message.user_property("n", "1").user_property("n", "2");
    message
        .correlation_data(b"x")
        .correlation_data(b"y")
        .send()
        .expect("a message");
    let message = watcher.expect_message("t", "");
    assert_eq!(message.props.text(id::CONTENT_TYPE), Some("two"));
    assert_eq!(message.props.text(id::RESPONSE_TOPIC), Some("b"));
    assert_eq!(message.props.binary(id::CORRELATION_DATA), Some(&b"y"[..]));
    assert_eq!(message.props.users().len(), 2);

    // What a block of the host's own must not have is refused by each way that it could take.
    let blocks: [&[midge::Property<'_>]; 4] = [
        &[
            ContentType("one"),
            UserProperty("n", "v"),
            ContentType("two"),
        ],
        &[PayloadFormatIndicator(1), PayloadFormatIndicator(1)],
        &[PayloadFormatIndicator(2)],
        &[ResponseTopic("a/#")],
    ];
    for properties in blocks {
        let mut block = midge::PropertiesBuf::new();
        for property in properties {
            block.push(*property).expect("it can be encoded");
        }
        let mut message = midge::OwnedMessage::new("t", "x");
        message.properties = block.clone();
        let invalid = |error| matches!(error, midge::PublishError::InvalidProperty(_));
        let refused = server.publish_ref(message.parts(), None, true);
        assert!(refused.is_err_and(invalid), "{properties:?}");

        for at_delivery in [false, true] {
            let hooks = Replacer(block.clone(), at_delivery);
            let server = broker_with(|builder| builder.hooks(hooks));
            let mut watcher = server.watcher("t");
            let mut client = server.client("publisher");
            client.send(Publish::new("t", "x").qos(1, 1).bytes());
            let puback = client.expect_ack(Kind::Puback, 1).code;
            assert_eq!(puback, if at_delivery { 0 } else { 0x83 });
            watcher.expect_nothing();
        }
    }
    // Bytes that are no properties do not become any.
    for block in [
        &b"\x03\x00\x01\xff"[..],
        b"\x03\x00\x05x",
        b"\xff\xff",
        b"\x26\x00\x01n",
    ] {
        let mut message = midge::OwnedMessage::new("t", "x");
        message.properties = midge::Properties::from_block(block).into();
        let _ = server.publish_ref(message.parts(), None, true);
    }
    watcher.barrier();
    for message in watcher.drain() {
        assert_eq!(
            (message.text().as_str(), message.props.is_empty()),
            ("x", true)
        );
    }
}
