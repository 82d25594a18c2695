//! Properties of the codec that hold for all packets and for all bytes.

#![allow(clippy::expect_used)] // a test fails by panicking, in its helpers too

#[allow(unreachable_pub)] // it is the library of the fuzz targets
#[path = "../fuzz/src/lib.rs"]
mod harness;
mod support;

use midge_codec::{
    EncodeError, MAX_PACKET_BYTES, MessageProperties, Packet, Properties, PublishFrame, ReasonCode,
    Side, TopicFilter, Version, decode, encode, encoded_len, split,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

fn encoded(packet: &Packet<'_>, version: Version) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    encode(packet, version, &mut out)?;
    Ok(out)
}

/// Levels compared from the left, as section 4.7 tells it.
fn matches_by_the_book(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_by_the_book(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => {
            wanted == level && matches_by_the_book(filter, topic)
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    #[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
    fn round_trip((version, sender, packet) in support::any_packet()) {
        let bytes = encoded(&packet, version).expect("encodes");
        prop_assert_eq!(encoded_len(&packet, version), Ok(bytes.len()));
        let raw = split(&bytes, MAX_PACKET_BYTES as u32).expect("well formed").expect("whole");
        prop_assert_eq!(raw.len, bytes.len());
        let decoded = decode(raw, version, sender);
        prop_assert_eq!(decoded, Ok(packet), "{:02X?}", bytes);
    }

    #[test]
    fn split_waits_until_a_packet_is_whole(
        (version, _, packet) in support::any_packet(),
        tail in vec(any::<u8>(), 0..5),
    ) {
        let mut bytes = encoded(&packet, version).expect("encodes");
        let len = bytes.len();
        for cut in 0..len {
            prop_assert_eq!(split(&bytes[..cut], len as u32), Ok(None));
        }
        let whole = split(&bytes, len as u32).expect("well formed").expect("whole");
        let (header, body) = (whole.header, whole.body.to_vec());
        let reason = split(&bytes, len as u32 - 1).expect_err("too large").reason;
        prop_assert_eq!(reason, ReasonCode::PacketTooLarge);
        bytes.extend(tail);
        let raw = split(&bytes, len as u32).expect("well formed").expect("whole");
        prop_assert_eq!((raw.header, raw.body, raw.len), (header, &body[..], len));
    }

    #[test]
    fn a_truncated_body_is_never_accepted_as_the_same_packet(
        (version, sender, packet) in support::any_packet(),
        at in any::<Index>(),
    ) {
        let bytes = encoded(&packet, version).expect("encodes");
        let mut raw = split(&bytes, u32::MAX).expect("well formed").expect("whole");
        if !raw.body.is_empty() {
            let cut = at.index(raw.body.len());
            raw.body = &raw.body[..cut];
            prop_assert_ne!(decode(raw, version, sender), Ok(packet));
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        for version in VERSIONS {
            harness::check(&bytes, version);
        }
    }

    #[test]
    fn arbitrary_bodies_do_no_harm(header in any::<u8>(), body in vec(any::<u8>(), 0..100)) {
        let bytes = [&[header, body.len() as u8][..], &body].concat();
        for version in VERSIONS {
            harness::check(&bytes, version);
        }
    }

    #[test]
    fn mutated_packets_do_no_harm(
        (version, _, packet) in support::any_packet(),
        changes in vec((any::<Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let mut bytes = encoded(&packet, version).expect("encodes");
        for (at, value, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value & 7),
                2 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }

        harness::check(&bytes, version);

        // With a length that is right again, so that more than the length is looked at.
        if let Some((header, body)) = bytes.split_first() {
            let body = body.get(1..).unwrap_or_default();
            if body.len() < 128 {
                let bytes = [&[*header, body.len() as u8][..], body].concat();
                for version in VERSIONS {
                    harness::check(&bytes, version);
                }
            }
        }
    }

    #[test]
    fn nothing_is_written_on_error((version, _, packet) in support::any_packet()) {
        for other in VERSIONS {
            let mut out = vec![1, 2, 3];
            match encode(&packet, other, &mut out) {
                Ok(()) => prop_assert_eq!(encoded_len(&packet, other), Ok(out.len() - 3)),
                Err(error) => {
                    prop_assert_ne!(version, other);
                    prop_assert_eq!(encoded_len(&packet, other), Err(error));
                    prop_assert_eq!(&out, &[1, 2, 3]);
                }
            }
        }
    }

    #[test]
    fn messages_are_forwarded_unaltered(
        properties in support::properties(Version::V5, support::table::Place::PublishFromServer),
        topic in support::topic(),
        payload in support::binary(),
        qos in support::qos(),
        ids in vec(1..=268_435_455_u32, 0..3),
    ) {
        let message = MessageProperties::new(properties);
        let mut block = Vec::new();
        message.append_block(&mut block);
        prop_assert_eq!(block.len(), message.block_len());

        let frame = PublishFrame {
            dup: false,
            qos,
            retain: true,
            topic,
            packet_id: 3,
            topic_alias: message.topic_alias,
            message_expiry: message.message_expiry,
            subscription_ids: &ids,
            block: &block,
            payload_len: payload.len(),
        };

        for version in VERSIONS {
            let mut out = Vec::new();
            frame.encode_with(version, payload, &mut out);
            prop_assert_eq!(out.len(), frame.encoded_len(version));
            let raw = split(&out, u32::MAX).expect("well formed").expect("whole");
            let Ok(Packet::Publish(publish)) = decode(raw, version, Side::Server) else {
                panic!("refused: {out:02X?}");
            };
            prop_assert_eq!((publish.topic, publish.payload), (topic, payload));
            if version == Version::V5 {
                let again = MessageProperties::new(publish.properties);
                prop_assert_eq!(again.message_expiry, properties.message_expiry());
                prop_assert_eq!(again.topic_alias, properties.topic_alias());
                prop_assert_eq!(again.content_type, properties.content_type());
                prop_assert_eq!(again.response_topic, properties.response_topic());
                prop_assert_eq!(again.correlation_data, properties.correlation_data());
                prop_assert_eq!(again.payload_format, properties.payload_format());
                prop_assert!(publish.properties.subscription_ids().eq(ids.iter().copied()));
                prop_assert!(
                    publish.properties.user_properties().eq(properties.user_properties())
                );
            } else {
                prop_assert_eq!(publish.properties, Properties::EMPTY);
            }
        }
    }

    #[test]
    fn mqtt_3_3_2_3_filters_match_by_the_book(
        filter in support::plain_filter(),
        topic in support::topic(),
    ) {
        let levels: Vec<_> = filter.split('/').collect();
        let dollar = topic.starts_with('$') && filter.starts_with(['+', '#']);
        let expected = !dollar && matches_by_the_book(&levels, &topic.split('/').collect::<Vec<_>>());
        prop_assert_eq!(TopicFilter::new(filter).expect("a filter").matches(topic), expected);
    }
}
