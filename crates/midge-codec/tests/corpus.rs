//! The fuzz targets' function over every file of their corpora, so that they run without a fuzzer;
//! and where the seeds among those files come from.

#![allow(clippy::expect_used)] // a test fails by panicking, in its helpers too

#[allow(unreachable_pub)] // it is the library of the fuzz targets
#[path = "../fuzz/src/lib.rs"]
mod harness;

use std::fs;
use std::path::PathBuf;

use midge_codec::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, Publish,
    QoS, ReasonCode, RetainHandling, Side, Suback, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsuback, Unsubscribe, Version, Will, decode, encode, split,
};

const TARGETS: [(&str, Version); 3] = [
    ("decode_v31", Version::V31),
    ("decode_v311", Version::V311),
    ("decode_v5", Version::V5),
];

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", target]
        .iter()
        .collect()
}

#[test]
fn every_file_of_the_corpora() {
    for (target, version) in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(folder(target)).expect("a corpus") {
            let path = entry.expect("an entry").path();
            harness::check(&fs::read(&path).expect("a file"), version);
            count += 1;
        }
        assert!(count >= 20, "{target}: {count} files");
    }
}

#[test]
fn seeds_are_in_the_corpora() {
    for (target, version) in TARGETS {
        for (name, bytes) in seeds(version) {
            let file = fs::read(folder(target).join(&name)).unwrap_or_default();
            assert_eq!(
                file, bytes,
                "{target}/{name}; cargo test --test corpus -- --ignored"
            );
        }
    }
}

#[test]
#[cfg_attr(not(feature = "mqtt31"), ignore = "needs 3.1")]
fn only_the_wrong_seeds_are_refused() {
    for (_, version) in TARGETS {
        for (name, bytes) in seeds(version) {
            let accepted = |sender| {
                let raw = split(&bytes, u32::MAX).ok().flatten();
                raw.is_some_and(|raw| decode(raw, version, sender).is_ok())
            };
            let accepted = accepted(Side::Client) || accepted(Side::Server);
            assert_eq!(accepted, !name.starts_with("wrong"), "{name} {version:?}");
        }
    }
}

#[test]
#[ignore = "writes the seeds"]
fn write_seeds() {
    for (target, version) in TARGETS {
        fs::create_dir_all(folder(target)).expect("a folder");
        for (name, bytes) in seeds(version) {
            fs::write(folder(target).join(name), bytes).expect("a file");
        }
    }
}

fn buf(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        buf.push(*property).expect("fits");
    }
    buf
}

/// A file for each packet, a few streams, and a few that are not right.
fn seeds(version: Version) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, packet) in client_packets(version)
        .into_iter()
        .chain(server_packets(version))
    {
        let mut bytes = Vec::new();
        encode(&packet, version, &mut bytes).expect("encodes");
        seeds.push((name.to_owned(), bytes));
    }

    let stream: Vec<u8> = seeds.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    seeds.push(("stream".to_owned(), stream));
    for (name, bytes) in wrong() {
        seeds.push((format!("wrong-{name}"), bytes.to_vec()));
    }

    if version == Version::V5 {
        for (name, bytes) in wrong_in_5() {
            seeds.push((format!("wrong-{name}"), bytes.to_vec()));
        }
    }

    seeds
}

fn leak(properties: &[Property<'_>]) -> Properties<'static> {
    Box::leak(Box::new(buf(properties))).as_properties()
}

fn connects(version: Version) -> Vec<(&'static str, Packet<'static>)> {
    let plain = Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 60,
        client_id: "fuzz",
        properties: Properties::EMPTY,
        will: None,
        username: None,
        password: None,
    };

    let full = Connect {
        clean_start: false,
        properties: leak(&[
            Property::SessionExpiryInterval(3600),
            Property::ReceiveMaximum(10),
            Property::MaximumPacketSize(65_536),
            Property::TopicAliasMaximum(8),
            Property::RequestResponseInformation(1),
            Property::RequestProblemInformation(0),
            Property::UserProperty("name", "value"),
            Property::AuthenticationMethod("method"),
            Property::AuthenticationData(&[1, 2, 3]),
        ]),

        will: Some(Will {
            qos: QoS::ExactlyOnce,
            retain: true,
            topic: "will/topic",
            payload: b"gone",
            properties: leak(&[
                Property::WillDelayInterval(5),
                Property::PayloadFormatIndicator(1),
                Property::MessageExpiryInterval(60),
                Property::ContentType("text/plain"),
                Property::ResponseTopic("answer"),
                Property::CorrelationData(&[9]),
                Property::UserProperty("", ""),
            ]),
        }),
        username: Some("user"),
        password: Some(b"secret"),
        ..plain
    };

    vec![
        ("connect", Packet::Connect(plain)),
        ("connect-full", Packet::Connect(full)),
    ]
}

fn client_packets(version: Version) -> Vec<(&'static str, Packet<'static>)> {
    let message = leak(&[
        Property::PayloadFormatIndicator(0),
        Property::MessageExpiryInterval(10),
        Property::TopicAlias(3),
        Property::ResponseTopic("r/t"),
        Property::CorrelationData(b"id"),
        Property::UserProperty("k", "1"),
        Property::UserProperty("k", "2"),
        Property::ContentType("application/json"),
    ]);
    let publish = Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b/c",
        packet_id: 0,
        properties: Properties::EMPTY,
        payload: b"payload",
    };

    let above_0 = Publish {
        qos: QoS::ExactlyOnce,
        packet_id: 0xFFFF,
        ..publish
    };

    let filter = |filter, qos| SubscribeFilter {
        filter,
        options: SubscriptionOptions {
            qos,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            ..SubscriptionOptions::default()
        },
    };

    let subscribe = Subscribe {
        packet_id: 2,
        properties: leak(&[Property::SubscriptionIdentifier(300)]),
        filters: vec![
            filter("a/+/c", QoS::AtLeastOnce),
            filter("#", QoS::AtMostOnce),
            filter("$share/group/x/#", QoS::ExactlyOnce),
        ],
    };

    let unsubscribe = Unsubscribe {
        packet_id: 3,
        properties: Properties::EMPTY,
        filters: vec!["a/+/c", "$share/group/x/#"],
    };

    let normal = Disconnect {
        reason: ReasonCode::Success,
        properties: Properties::EMPTY,
    };

    let mut packets = connects(version);
    packets.extend([
        ("publish", Packet::Publish(publish)),
        (
            "publish-retain",
            Packet::Publish(Publish {
                retain: true,
                payload: b"",
                ..publish
            }),
        ),
        (
            "publish-again",
            Packet::Publish(Publish {
                dup: true,
                ..above_0
            }),
        ),
        (
            "publish-full",
            Packet::Publish(Publish {
                properties: message,
                ..above_0
            }),
        ),
        ("subscribe", Packet::Subscribe(subscribe)),
        ("unsubscribe", Packet::Unsubscribe(unsubscribe)),
        ("pingreq", Packet::Pingreq),
        ("disconnect", Packet::Disconnect(normal)),
    ]);

    if version == Version::V5 {
        let aliased = Publish {
            topic: "",
            properties: message,
            ..publish
        };
        let with_will = Disconnect {
            reason: ReasonCode::DisconnectWithWill,
            properties: leak(&[
                Property::SessionExpiryInterval(0),
                Property::ReasonString("leaving"),
            ]),
        };
        let auth = Auth {
            reason: ReasonCode::ReAuthenticate,
            properties: leak(&[
                Property::AuthenticationMethod("method"),
                Property::AuthenticationData(b"data"),
            ]),
        };
        packets.extend([
            ("publish-alias", Packet::Publish(aliased)),
            ("disconnect-with-will", Packet::Disconnect(with_will)),
            ("auth", Packet::Auth(auth)),
        ]);
    }

    packets
}

fn server_packets(version: Version) -> Vec<(&'static str, Packet<'static>)> {
    let why = leak(&[
        Property::ReasonString("why"),
        Property::UserProperty("k", "v"),
    ]);
    let v5 = version == Version::V5;
    let ack = |reason| Ack {
        packet_id: 0x0102,
        reason,
        properties: Properties::EMPTY,
    };

    let connack = Connack {
        session_present: version != Version::V31,
        reason: ReasonCode::Success,
        properties: leak(&[
            Property::SessionExpiryInterval(1),
            Property::ReceiveMaximum(2),
            Property::MaximumQoS(1),
            Property::RetainAvailable(0),
            Property::MaximumPacketSize(3),
            Property::AssignedClientIdentifier("assigned"),
            Property::TopicAliasMaximum(4),
            Property::WildcardSubscriptionAvailable(1),
            Property::SubscriptionIdentifierAvailable(1),
            Property::SharedSubscriptionAvailable(0),
            Property::ServerKeepAlive(5),
            Property::ResponseInformation("info"),
            Property::ServerReference("host"),
        ]),
    };

    let refusal = Connack {
        session_present: false,
        reason: ReasonCode::NotAuthorized,
        properties: why,
    };

    let mut reasons = vec![
        ReasonCode::Success,
        ReasonCode::GrantedQoS1,
        ReasonCode::GrantedQoS2,
    ];

    if version != Version::V31 {
        reasons.push(ReasonCode::UnspecifiedError);
    }

    let unsuback = Unsuback {
        packet_id: 2,
        properties: why,
        reasons: vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted],
    };

    let mut packets = vec![
        ("connack", Packet::Connack(connack)),
        ("connack-refusal", Packet::Connack(refusal)),
        ("puback", Packet::Puback(ack(ReasonCode::Success))),
        (
            "pubrec",
            Packet::Pubrec(ack(ReasonCode::NoMatchingSubscribers)),
        ),
        (
            "pubrel",
            Packet::Pubrel(ack(ReasonCode::PacketIdentifierNotFound)),
        ),
        (
            "pubcomp",
            Packet::Pubcomp(Ack {
                properties: why,
                ..ack(ReasonCode::Success)
            }),
        ),
        (
            "suback",
            Packet::Suback(Suback {
                packet_id: 2,
                properties: why,
                reasons,
            }),
        ),
        ("unsuback", Packet::Unsuback(unsuback)),
        ("pingresp", Packet::Pingresp),
    ];

    if v5 {
        let moved = Disconnect {
            reason: ReasonCode::ServerMoved,
            properties: leak(&[Property::ServerReference("elsewhere:1883")]),
        };
        let delivery = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "a",
            packet_id: 1,
            properties: leak(&[
                Property::SubscriptionIdentifier(1),
                Property::SubscriptionIdentifier(268_435_455),
            ]),
            payload: b"x",
        };
        packets.extend([
            ("disconnect-moved", Packet::Disconnect(moved)),
            ("publish-delivery", Packet::Publish(delivery)),
        ]);
    }

    packets
}

fn wrong() -> [(&'static str, &'static [u8]); 9] {
    [
        ("long-length", &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("padded-length", &[0xC0, 0x80, 0x00]),
        ("protocol", b"\x10\x0D\x00\x04MQTT\x06\x02\x00\x00\x00\x01a"),
        ("qos-3", b"\x36\x05\x00\x01a\x00\x01"),
        ("topic", b"\x30\x06\x00\x04a/\xED\xA0"),
        ("wildcard", b"\x30\x05\x00\x03a/#"),
        ("filter", b"\x82\x09\x00\x01\x00\x04a#/b\x00"),
        ("empty-subscribe", b"\x82\x02\x00\x01"),
        ("identifier-0", b"\x40\x02\x00\x00"),
    ]
}

fn wrong_in_5() -> [(&'static str, &'static [u8]); 6] {
    [
        ("property-twice", b"\x30\x08\x00\x01a\x04\x01\x00\x01\x00"),
        ("property-misplaced", b"\x30\x07\x00\x01a\x03\x21\x00\x01"),
        ("property-length", b"\x30\x06\x00\x01a\x09\x01\x00"),
        ("property-cut", b"\x30\x08\x00\x01a\x04\x26\x00\x01k"),
        ("auth-without-method", b"\xF0\x02\x18\x00"),
        (
            "share-no-local",
            b"\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x05",
        ),
    ]
}
