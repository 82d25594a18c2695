//! What holds for any bytes. Fuzz targets and the tests of the crate run the same function.

use midge_codec::{
    MAX_PACKET_BYTES, MessageProperties, Packet, Properties, PublishFrame, ReasonCode, Side,
    TopicFilter, TopicName, Version, decode, encode, encoded_len, split,
};

/// Takes bytes apart as a stream of packets of this version, from both sides. Panics if something
/// does not hold that always holds.
pub fn check(bytes: &[u8], version: Version) {
    for sender in [Side::Client, Side::Server] {
        let mut rest = bytes;
        while let Ok(Some(raw)) = split(rest, MAX_PACKET_BYTES as u32) {
            assert!(raw.len <= rest.len() && raw.body.len() < raw.len);
            assert_eq!(split(&rest[..raw.len - 1], u32::MAX), Ok(None));
            assert_eq!(split(&rest[..raw.len], raw.len as u32), Ok(Some(raw)));
            match decode(raw, version, sender) {
                Ok(packet) => check_packet(&packet, version, sender, raw.len),
                Err(error) => {
                    assert!(error.offset <= raw.len, "{error:?}");
                    assert!(can_be_told(raw.header, error.reason), "{error:?}");
                }
            }
            rest = &rest[raw.len..];
        }
    }
}

/// Whether a CONNACK, for CONNECT, or a DISCONNECT, for all others, can carry this reason.
fn can_be_told(header: u8, reason: ReasonCode) -> bool {
    match reason {
        ReasonCode::MalformedPacket | ReasonCode::ProtocolError | ReasonCode::TopicNameInvalid => {
            true
        }
        ReasonCode::UnsupportedProtocolVersion => header >> 4 == 1,
        ReasonCode::TopicFilterInvalid => matches!(header >> 4, 8 | 10),
        ReasonCode::TopicAliasInvalid => header >> 4 == 3,
        _ => false,
    }
}

/// What was decoded is encoded no longer than it came, and decoded as the same packet again.
fn check_packet(packet: &Packet<'_>, version: Version, sender: Side, len: usize) {
    let mut out = Vec::new();
    if let Err(error) = encode(packet, version, &mut out) {
        panic!("{error}: {packet:?}");
    }

    assert!(out.len() <= len, "{packet:?}");
    assert_eq!(encoded_len(packet, version), Ok(out.len()));

    let raw = split(&out, out.len() as u32)
        .ok()
        .flatten()
        .expect("a whole packet");
    assert_eq!(decode(raw, version, sender).as_ref(), Ok(packet));
    match packet {
        Packet::Publish(publish) => {
            assert_eq!(publish.packet_id == 0, publish.qos as u8 == 0);
            if !publish.topic.is_empty() {
                assert!(TopicName::new(publish.topic).is_ok());
            }
            check_properties(publish.properties);
            check_frame(packet, version);
        }
        Packet::Connect(connect) => {
            check_properties(connect.properties);
            if let Some(will) = connect.will {
                assert!(TopicName::new(will.topic).is_ok());
                check_properties(will.properties);
            }
        }
        Packet::Subscribe(subscribe) => {
            check_properties(subscribe.properties);
            for entry in &subscribe.filters {
                assert!(TopicFilter::new(entry.filter).is_ok());
            }
        }
        _ => {}
    }
}

/// Every byte of a validated block belongs to a property.
fn check_properties(properties: Properties<'_>) {
    let mut copy = midge_codec::PropertiesBuf::new();
    for property in properties {
        copy.push(property)
            .expect("what was decoded can be encoded");
    }
    assert_eq!(copy.as_properties(), properties);
}

/// A frame made from the parts of a PUBLISH says the same.
fn check_frame(packet: &Packet<'_>, version: Version) {
    let Packet::Publish(publish) = packet else {
        return;
    };

    let message = MessageProperties::new(publish.properties);
    let mut block = Vec::new();
    message.append_block(&mut block);
    assert_eq!(block.len(), message.block_len());

    let ids: Vec<u32> = publish.properties.subscription_ids().collect();
    let frame = PublishFrame {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        topic_alias: message.topic_alias,
        message_expiry: message.message_expiry,
        subscription_ids: &ids,
        block: &block,
        payload_len: publish.payload.len(),
    };

    let mut out = Vec::new();
    frame.encode_with(version, publish.payload, &mut out);
    assert_eq!(out.len(), frame.encoded_len(version));

    let raw = split(&out, u32::MAX)
        .ok()
        .flatten()
        .expect("a whole packet");
    let Ok(Packet::Publish(again)) = decode(raw, version, Side::Server) else {
        panic!("a frame that does not decode: {packet:?}");
    };

    assert_eq!(
        (again.topic, again.payload),
        (publish.topic, publish.payload)
    );
    assert_eq!(
        (again.qos, again.packet_id),
        (publish.qos, publish.packet_id)
    );
    assert!(
        again
            .properties
            .user_properties()
            .eq(publish.properties.user_properties())
    );
    assert_eq!(
        again.properties.as_bytes().len(),
        publish.properties.as_bytes().len()
    );
}
