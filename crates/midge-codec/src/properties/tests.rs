use super::table;
use crate::testing::{read as read_packet, refused};
use crate::{
    EncodeError, MessageProperties, Packet, Properties, PropertiesBuf, Property, ReasonCode, Side,
    Version,
};

/// One of each, in no order.
const ALL: [Property<'static>; 27] = [
    Property::UserProperty("name", "value"),
    Property::PayloadFormatIndicator(1),
    Property::MessageExpiryInterval(0x0102_0304),
    Property::ContentType("text"),
    Property::ResponseTopic("answer/here"),
    Property::CorrelationData(&[0, 255]),
    Property::SubscriptionIdentifier(321),
    Property::SessionExpiryInterval(u32::MAX),
    Property::AssignedClientIdentifier("id"),
    Property::ServerKeepAlive(30),
    Property::AuthenticationMethod("method"),
    Property::AuthenticationData(&[]),
    Property::RequestProblemInformation(0),
    Property::WillDelayInterval(5),
    Property::RequestResponseInformation(1),
    Property::ResponseInformation("info"),
    Property::ServerReference("host:1883"),
    Property::ReasonString("why"),
    Property::ReceiveMaximum(10),
    Property::TopicAliasMaximum(11),
    Property::TopicAlias(12),
    Property::MaximumQoS(1),
    Property::RetainAvailable(0),
    Property::MaximumPacketSize(13),
    Property::WildcardSubscriptionAvailable(1),
    Property::SubscriptionIdentifierAvailable(0),
    Property::SharedSubscriptionAvailable(1),
];

fn buf(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        buf.push(*property).expect("fits");
    }
    buf
}

/// A PUBLISH of a client with this block.
fn publish(block: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b't', block.len() as u8];
    body.extend(block);
    crate::testing::packet(0x30, &body)
}

#[test]
fn what_is_pushed_is_iterated() {
    let buf = buf(&ALL);
    assert_eq!(buf.as_properties().iter().collect::<Vec<_>>(), ALL);
    assert_eq!(buf.len(), buf.as_properties().as_bytes().len());
}

#[test]
fn identifiers() {
    let mut ids = ALL.map(|property| property.id());
    ids.sort_unstable();
    let expected = [
        1, 2, 3, 8, 9, 11, 17, 18, 19, 21, 22, 23, 24, 25, 26, 28, 31, 33, 34, 35, 36, 37, 38, 39,
        40, 41, 42,
    ];
    assert_eq!(ids, expected);
    for id in 0..=255 {
        assert_eq!(
            table::property(id).is_some(),
            expected.contains(&id),
            "{id}"
        );
    }
}

#[test]
fn every_finder() {
    let buf = buf(&ALL);
    let all = buf.as_properties();
    assert_eq!(all.payload_format(), Some(1));
    assert_eq!(all.message_expiry(), Some(0x0102_0304));
    assert_eq!(all.content_type(), Some("text"));
    assert_eq!(all.response_topic(), Some("answer/here"));
    assert_eq!(all.correlation_data(), Some(&[0, 255][..]));
    assert_eq!(all.subscription_id(), Some(321));
    assert_eq!(all.session_expiry(), Some(u32::MAX));
    assert_eq!(all.assigned_client_id(), Some("id"));
    assert_eq!(all.server_keep_alive(), Some(30));
    assert_eq!(all.authentication_method(), Some("method"));
    assert_eq!(all.authentication_data(), Some(&[][..]));
    assert_eq!(all.request_problem_information(), Some(0));
    assert_eq!(all.will_delay(), Some(5));
    assert_eq!(all.request_response_information(), Some(1));
    assert_eq!(all.response_information(), Some("info"));

    assert_eq!(all.server_reference(), Some("host:1883"));
    assert_eq!(all.reason_string(), Some("why"));
    assert_eq!(all.receive_maximum(), Some(10));
    assert_eq!(all.topic_alias_maximum(), Some(11));
    assert_eq!(all.topic_alias(), Some(12));
    assert_eq!(all.maximum_qos(), Some(1));
    assert_eq!(all.retain_available(), Some(0));
    assert_eq!(all.maximum_packet_size(), Some(13));
    assert_eq!(all.wildcard_subscription_available(), Some(1));
    assert_eq!(all.subscription_identifier_available(), Some(0));
    assert_eq!(all.shared_subscription_available(), Some(1));
    assert_eq!(
        all.user_properties().collect::<Vec<_>>(),
        [("name", "value")]
    );
    assert_eq!(all.subscription_ids().collect::<Vec<_>>(), [321]);
    assert_eq!(Properties::EMPTY.session_expiry(), None);

    assert!(Properties::EMPTY.is_empty());
}

#[test]
fn what_cannot_be_encoded_is_not_pushed() {
    let long = "x".repeat(65_536);
    let mut buf = PropertiesBuf::new();
    for (property, error) in [
        (Property::ContentType(&long), EncodeError::FieldTooLong),
        (
            Property::CorrelationData(long.as_bytes()),
            EncodeError::FieldTooLong,
        ),
        (
            Property::UserProperty("a", &long),
            EncodeError::FieldTooLong,
        ),
        (
            Property::UserProperty(&long, "a"),
            EncodeError::FieldTooLong,
        ),
        (Property::ReasonString("a\0"), EncodeError::NulCharacter),
        (Property::UserProperty("\0", ""), EncodeError::NulCharacter),
        (
            Property::SubscriptionIdentifier(268_435_456),
            EncodeError::ValueOutOfRange,
        ),
    ] {
        assert_eq!(buf.push(property), Err(error));
        assert!(buf.is_empty());
    }

    buf.push(Property::ContentType(&long[..65_535]))
        .expect("fits");
    buf.clear();
    assert!(buf.is_empty());
}

#[test]
fn iteration_over_garbage_ends() {
    let whole = buf(&ALL);
    let bytes = whole.as_properties().as_bytes();
    for cut in 0..bytes.len() {
        let found = Properties::from_block(&bytes[..cut]).iter().count();
        assert!(found < ALL.len());
        let message = MessageProperties::new(Properties::from_block(&bytes[..cut]));
        let mut block = Vec::new();
        message.append_block(&mut block);
        assert_eq!(block.len(), message.block_len());
    }

    assert_eq!(
        Properties::from_block(&[0xFF, 0x01, 0x00]).iter().next(),
        None
    );
    assert_eq!(
        Properties::from_block(&[0x03, 0, 1, 0xFF, 0x01, 0x00])
            .iter()
            .next(),
        None
    );
}

#[test]
fn nn5_011_lengths_of_blocks_and_values() {
    let good = buf(&[
        Property::UserProperty("k", "v"),
        Property::MessageExpiryInterval(1),
    ]);
    let good = publish(good.as_properties().as_bytes());
    assert!(read_packet(&good, Version::V5, Side::Client).is_ok());
    // The property length is byte 5, the lengths of the strings end in bytes 8 and 11.
    for (at, values) in [(5, [11, 13, 127]), (8, [0, 2, 0xFF]), (11, [0, 2, 0xFF])] {
        for value in values {
            let mut bytes = good.clone();
            bytes[at] = value;
            let reason = refused(&bytes, Version::V5, Side::Client);
            assert_eq!(reason, ReasonCode::MalformedPacket, "byte {at} = {value}");
        }
    }
}

#[test]
fn mqtt_1_5_5_1_property_length_and_subscription_identifier_are_minimal() {
    for bytes in [
        &b"\x82\x08\x00\x01\x80\x00\x00\x01a\x00"[..],
        b"\x82\x0A\x00\x01\x03\x0B\x81\x00\x00\x01a\x00",
        b"\x82\x0C\x00\x01\x06\x0B\x80\x80\x80\x80\x01\x00\x01a\x00",
    ] {
        let mut bytes = bytes.to_vec();
        bytes[1] = (bytes.len() - 2) as u8;
        let reason = refused(&bytes, Version::V5, Side::Client);
        assert_eq!(reason, ReasonCode::MalformedPacket);
    }
}

#[test]
fn mqtt_3_3_2_14_response_topic_has_no_wildcard() {
    for (topic, good) in [("a/b", true), ("a/#", false), ("+", false), ("", false)] {
        let bytes = publish(
            buf(&[Property::ResponseTopic(topic)])
                .as_properties()
                .as_bytes(),
        );
        if good {
            assert!(read_packet(&bytes, Version::V5, Side::Client).is_ok());
        } else {
            let reason = refused(&bytes, Version::V5, Side::Client);
            assert_eq!(reason, ReasonCode::ProtocolError, "{topic}");
        }
    }
}

#[test]
fn nn5_121_authentication_data_needs_a_method() {
    let bytes = b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x16\x00\x00\x00\x01a";
    assert_eq!(
        refused(bytes, Version::V5, Side::Client),
        ReasonCode::ProtocolError
    );
    let bytes = b"\x20\x06\x00\x00\x03\x16\x00\x00";
    assert_eq!(
        refused(bytes, Version::V5, Side::Server),
        ReasonCode::ProtocolError
    );
}

#[test]
fn the_block_of_a_message() {
    let all = [
        Property::UserProperty("k", "1"),
        Property::TopicAlias(9),
        Property::ContentType("text"),
        Property::MessageExpiryInterval(60),
        Property::UserProperty("k", "2"),
        Property::PayloadFormatIndicator(1),
        Property::CorrelationData(&[1, 2]),
        Property::ResponseTopic("r"),
        Property::UserProperty("", ""),
    ];
    let buf = buf(&all);
    let message = MessageProperties::new(buf.as_properties());
    assert_eq!(message.topic_alias, Some(9));
    assert_eq!(message.message_expiry, Some(60));
    assert_eq!(message.payload_format, Some(1));
    assert_eq!(message.content_type, Some("text"));
    assert_eq!(message.response_topic, Some("r"));
    assert_eq!(message.correlation_data, Some(&[1, 2][..]));
    assert_eq!((message.will_delay, message.subscription_id), (None, None));
    assert!(message.has_user_properties);

    let mut block = vec![0xAA];
    message.append_block(&mut block);
    assert_eq!(block.len(), 1 + message.block_len());

    // MQTT-3.3.2-18: in order.
    let forwarded: Vec<_> = Properties::from_block(&block[1..]).iter().collect();
    let expected: Vec<_> = all
        .into_iter()
        .filter(|p| {
            !matches!(
                p,
                Property::TopicAlias(_) | Property::MessageExpiryInterval(_)
            )
        })
        .collect();
    assert_eq!(forwarded, expected);

    // A block is its own block.
    let again = MessageProperties::new(Properties::from_block(&block[1..]));
    assert_eq!(again.block_len(), block.len() - 1);
    assert!(MessageProperties::default().block_len() == 0);
}

#[test]
fn subscription_identifiers_from_a_server_may_repeat() {
    let ids = buf(&[
        Property::SubscriptionIdentifier(7),
        Property::SubscriptionIdentifier(7),
    ]);
    let bytes = publish(ids.as_properties().as_bytes());
    let Ok(Packet::Publish(publish)) = read_packet(&bytes, Version::V5, Side::Server) else {
        panic!("refused");
    };
    assert_eq!(
        publish.properties.subscription_ids().collect::<Vec<_>>(),
        [7, 7]
    );
    assert_eq!(MessageProperties::new(publish.properties).block_len(), 0);
}

#[test]
fn a_copy_is_equal() {
    let buf = buf(&ALL);
    assert_eq!(PropertiesBuf::from(buf.as_properties()), buf);
}
