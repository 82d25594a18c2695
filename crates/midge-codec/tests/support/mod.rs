//! Random packets that are valid for a version and a sender.
//!
//! Packets borrow, and a strategy has to own what it yields; so the parts are leaked. A test run
//! makes a few megabytes of them.

// Every test is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

pub mod table;

use midge_codec::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, Publish,
    QoS, ReasonCode, RetainHandling, Side, Suback, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsuback, Unsubscribe, Version, Will,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use table::{PROPERTIES, Place, REASONS};

fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
    Box::leak(value)
}

pub fn text() -> BoxedStrategy<&'static str> {
    prop_oneof![
        Just(String::new()),
        "[a-z0-9 ]{1,12}",
        "[^\0]{0,24}",
        "[a-z]{1,3}\u{FEFF}[\u{10000}-\u{10FFFF}]{1,4}",
    ]
    .prop_map(|text| leak(text.into_boxed_str()))
    .boxed()
}

pub fn binary() -> BoxedStrategy<&'static [u8]> {
    vec(any::<u8>(), 0..24)
        .prop_map(|bytes| leak(bytes.into_boxed_slice()))
        .boxed()
}

pub fn topic() -> BoxedStrategy<&'static str> {
    prop_oneof!["[a-c/]{1,6}", "\\$?[^\0+#]{1,20}"]
        .prop_map(|text| leak(text.into_boxed_str()))
        .boxed()
}

/// A filter without share name.
pub fn plain_filter() -> BoxedStrategy<&'static str> {
    let level = prop_oneof![Just("+".to_owned()), Just(String::new()), "[^\0+#/$]{1,5}"];
    (vec(level, 0..5), any::<bool>(), "[a-c]")
        .prop_map(|(mut levels, all_below, one)| {
            if all_below {
                levels.push("#".to_owned());
            }
            let filter = levels.join("/");
            let filter = if filter.is_empty() { one } else { filter };
            leak(filter.into_boxed_str())
        })
        .boxed()
}

pub fn filter() -> BoxedStrategy<&'static str> {
    let shared = ("[^\0+#/]{1,6}", plain_filter())
        .prop_map(|(name, filter)| leak(format!("$share/{name}/{filter}").into_boxed_str()));
    prop_oneof![3 => plain_filter(), 1 => shared].boxed()
}

pub fn qos() -> BoxedStrategy<QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]).boxed()
}

/// Any valid value of the property with this number.
fn property(id: u8) -> BoxedStrategy<Property<'static>> {
    let bit = 0..=1_u8;

    match id {
        1 => bit.prop_map(Property::PayloadFormatIndicator).boxed(),
        2 => any::<u32>()
            .prop_map(Property::MessageExpiryInterval)
            .boxed(),
        3 => text().prop_map(Property::ContentType).boxed(),
        8 => topic().prop_map(Property::ResponseTopic).boxed(),
        9 => binary().prop_map(Property::CorrelationData).boxed(),
        11 => prop_oneof![1..200_u32, 1..=268_435_455_u32]
            .prop_map(Property::SubscriptionIdentifier)
            .boxed(),
        17 => any::<u32>()
            .prop_map(Property::SessionExpiryInterval)
            .boxed(),
        18 => text().prop_map(Property::AssignedClientIdentifier).boxed(),
        19 => any::<u16>().prop_map(Property::ServerKeepAlive).boxed(),
        21 => text().prop_map(Property::AuthenticationMethod).boxed(),
        22 => binary().prop_map(Property::AuthenticationData).boxed(),
        23 => bit.prop_map(Property::RequestProblemInformation).boxed(),
        24 => any::<u32>().prop_map(Property::WillDelayInterval).boxed(),
        25 => bit.prop_map(Property::RequestResponseInformation).boxed(),

        26 => text().prop_map(Property::ResponseInformation).boxed(),
        28 => text().prop_map(Property::ServerReference).boxed(),
        31 => text().prop_map(Property::ReasonString).boxed(),
        33 => (1..=u16::MAX).prop_map(Property::ReceiveMaximum).boxed(),
        34 => any::<u16>().prop_map(Property::TopicAliasMaximum).boxed(),
        35 => (1..=u16::MAX).prop_map(Property::TopicAlias).boxed(),
        36 => bit.prop_map(Property::MaximumQoS).boxed(),
        37 => bit.prop_map(Property::RetainAvailable).boxed(),
        38 => (text(), text())
            .prop_map(|(k, v)| Property::UserProperty(k, v))
            .boxed(),
        39 => (1..=u32::MAX).prop_map(Property::MaximumPacketSize).boxed(),
        40 => bit
            .prop_map(Property::WildcardSubscriptionAvailable)
            .boxed(),
        41 => bit
            .prop_map(Property::SubscriptionIdentifierAvailable)
            .boxed(),
        42 => bit.prop_map(Property::SharedSubscriptionAvailable).boxed(),
        _ => panic!("no property {id}"),
    }
}

/// Any valid properties of this place, none before 5.0.
pub fn properties(version: Version, place: Place) -> BoxedStrategy<Properties<'static>> {
    if version != Version::V5 {
        return Just(Properties::EMPTY).boxed();
    }

    let rows = || PROPERTIES.iter().map(move |row| (row.id, row.cell(place)));
    let once: Vec<u8> = rows()
        .filter(|(_, cell)| *cell == '1')
        .map(|(id, _)| id)
        .collect();
    let many: Vec<u8> = rows()
        .filter(|(_, cell)| *cell == 'N')
        .map(|(id, _)| id)
        .collect();
    let range = 0..=once.len();
    let some = prop_oneof![subsequence(once, range), Just(Vec::new())];
    (some, vec(select(many), 0..3))
        .prop_flat_map(move |(mut ids, more)| {
            ids.extend(more);
            // Data without a method, and AUTH without a method, are Protocol Errors.
            if !ids.contains(&21) && (ids.contains(&22) || place == Place::Auth) {
                ids.push(21);
            }
            Just(ids).prop_shuffle()
        })
        .prop_flat_map(|ids| ids.into_iter().map(property).collect::<Vec<_>>())
        .prop_map(|properties| {
            let mut buf = PropertiesBuf::new();
            for property in properties {
                buf.push(property).expect("fits");
            }
            leak(Box::new(buf)).as_properties()
        })
        .boxed()
}

/// Any reason code that `sender` may put into this packet, `Success` before 5.0.
fn reason(version: Version, packet: &'static str, sender: Side) -> BoxedStrategy<ReasonCode> {
    if version != Version::V5 {
        return Just(ReasonCode::Success).boxed();
    }
    let allowed: Vec<ReasonCode> = REASONS
        .iter()
        .filter(|row| row.allows(packet, sender))
        .map(|row| ReasonCode::from_u8(row.code).expect("a reason code"))
        .collect();
    select(allowed).boxed()
}

fn connect(version: Version) -> BoxedStrategy<Packet<'static>> {
    let will = (
        qos(),
        any::<bool>(),
        topic(),
        binary(),
        properties(version, Place::Will),
    )
        .prop_map(|(qos, retain, topic, payload, properties)| Will {
            qos,
            retain,
            topic,
            payload,
            properties,
        });

    (
        (any::<bool>(), any::<bool>()),
        any::<u16>(),
        text(),
        properties(version, Place::Connect),
        option::of(will),
        option::of(text()),
        option::of(binary()),
    )
        .prop_map(
            move |(
                (bridge, clean_start),
                keep_alive,
                client_id,
                properties,
                will,
                username,
                password,
            )| {
                let may = version == Version::V5 || username.is_some();

                Packet::Connect(Connect {
                    version,
                    bridge: bridge && version != Version::V5,
                    clean_start,
                    keep_alive,
                    client_id,
                    properties,
                    will,
                    username,
                    password: password.filter(|_| may),
                })
            },
        )
        .boxed()
}

fn connack(version: Version) -> BoxedStrategy<Packet<'static>> {
    let reason = if version == Version::V5 {
        reason(version, "CONNACK", Side::Server)
    } else {
        (0..=5_u8)
            .prop_map(|code| ReasonCode::from_v3_connack(code).expect("a code"))
            .boxed()
    };

    (any::<bool>(), reason, properties(version, Place::Connack))
        .prop_map(move |(present, reason, properties)| {
            let session_present =
                present && reason == ReasonCode::Success && version != Version::V31;
            Packet::Connack(Connack {
                session_present,
                reason,
                properties,
            })
        })
        .boxed()
}

fn publish(version: Version, sender: Side) -> BoxedStrategy<Packet<'static>> {
    let place = match sender {
        Side::Client => Place::PublishFromClient,
        Side::Server => Place::PublishFromServer,
    };

    let payload = prop_oneof![
        3 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 100..300),
    ];

    (
        (any::<bool>(), qos(), any::<bool>(), any::<bool>()),
        topic(),
        1..=u16::MAX,
        properties(version, place),
        payload,
    )
        .prop_map(
            |((dup, qos, retain, use_alias), topic, packet_id, properties, payload)| {
                let above_0 = qos != QoS::AtMostOnce;
                let by_alias = use_alias && properties.topic_alias().is_some();
                Packet::Publish(Publish {
                    dup: dup && above_0,
                    qos,
                    retain,
                    topic: if by_alias { "" } else { topic },
                    packet_id: if above_0 { packet_id } else { 0 },
                    properties,
                    payload: leak(payload.into_boxed_slice()),
                })
            },
        )
        .boxed()
}

fn ack(version: Version, sender: Side) -> BoxedStrategy<Packet<'static>> {
    type Make = fn(Ack<'static>) -> Packet<'static>;

    let kinds: [(&'static str, Place, Make); 4] = [
        ("PUBACK", Place::Puback, Packet::Puback),
        ("PUBREC", Place::Pubrec, Packet::Pubrec),
        ("PUBREL", Place::Pubrel, Packet::Pubrel),
        ("PUBCOMP", Place::Pubcomp, Packet::Pubcomp),
    ];

    select(kinds.to_vec())
        .prop_flat_map(move |(name, place, make)| {
            (
                1..=u16::MAX,
                reason(version, name, sender),
                properties(version, place),
            )
                .prop_map(move |(packet_id, reason, properties)| {
                    make(Ack {
                        packet_id,
                        reason,
                        properties,
                    })
                })
        })
        .boxed()
}

fn subscribe(version: Version) -> BoxedStrategy<Packet<'static>> {
    let handling = select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let entry = (filter(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| {
            let options = SubscriptionOptions {
                qos,
                no_local: no_local && !filter.starts_with("$share/"),
                retain_as_published,
                retain_handling,
            };
            let v3 = SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            };
            let options = if version == Version::V5 { options } else { v3 };
            SubscribeFilter { filter, options }
        },
    );

    (
        1..=u16::MAX,
        properties(version, Place::Subscribe),
        vec(entry, 1..5),
    )
        .prop_map(|(packet_id, properties, filters)| {
            Packet::Subscribe(Subscribe {
                packet_id,
                properties,
                filters,
            })
        })
        .boxed()
}

fn suback(version: Version) -> BoxedStrategy<Packet<'static>> {
    use ReasonCode::{GrantedQoS1, GrantedQoS2, Success, UnspecifiedError};

    let reason = match version {
        Version::V5 => reason(version, "SUBACK", Side::Server),
        Version::V311 => select(vec![Success, GrantedQoS1, GrantedQoS2, UnspecifiedError]).boxed(),
        Version::V31 => select(vec![Success, GrantedQoS1, GrantedQoS2]).boxed(),
    };

    (
        1..=u16::MAX,
        properties(version, Place::Suback),
        vec(reason, 1..5),
    )
        .prop_map(|(packet_id, properties, reasons)| {
            Packet::Suback(Suback {
                packet_id,
                properties,
                reasons,
            })
        })
        .boxed()
}

fn unsubscribe(version: Version) -> BoxedStrategy<Packet<'static>> {
    (
        1..=u16::MAX,
        properties(version, Place::Unsubscribe),
        vec(filter(), 1..5),
    )
        .prop_map(|(packet_id, properties, filters)| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties,
                filters,
            })
        })
        .boxed()
}

fn unsuback(version: Version) -> BoxedStrategy<Packet<'static>> {
    let reasons = match version {
        Version::V5 => vec(reason(version, "UNSUBACK", Side::Server), 1..5).boxed(),
        Version::V31 | Version::V311 => Just(Vec::new()).boxed(),
    };
    (1..=u16::MAX, properties(version, Place::Unsuback), reasons)
        .prop_map(|(packet_id, properties, reasons)| {
            Packet::Unsuback(Unsuback {
                packet_id,
                properties,
                reasons,
            })
        })
        .boxed()
}

fn disconnect(version: Version, sender: Side) -> BoxedStrategy<Packet<'static>> {
    let place = match sender {
        Side::Client => Place::DisconnectFromClient,
        Side::Server => Place::DisconnectFromServer,
    };
    (
        reason(version, "DISCONNECT", sender),
        properties(version, place),
    )
        .prop_map(|(reason, properties)| Packet::Disconnect(Disconnect { reason, properties }))
        .boxed()
}

fn auth(version: Version, sender: Side) -> BoxedStrategy<Packet<'static>> {
    (
        reason(version, "AUTH", sender),
        properties(version, Place::Auth),
    )
        .prop_map(|(reason, properties)| Packet::Auth(Auth { reason, properties }))
        .boxed()
}

/// Any valid packet that `sender` may send on a connection of this version.
pub fn packet(version: Version, sender: Side) -> BoxedStrategy<Packet<'static>> {
    let mut kinds = vec![publish(version, sender), ack(version, sender)];
    match sender {
        Side::Client => kinds.extend([
            connect(version),
            subscribe(version),
            unsubscribe(version),
            Just(Packet::Pingreq).boxed(),
            disconnect(version, sender),
        ]),
        Side::Server => kinds.extend([
            connack(version),
            suback(version),
            unsuback(version),
            Just(Packet::Pingresp).boxed(),
        ]),
    }

    if version == Version::V5 {
        kinds.push(auth(version, sender));
        if sender == Side::Server {
            kinds.push(disconnect(version, sender));
        }
    }

    proptest::strategy::Union::new(kinds).boxed()
}

/// A version, a sender and a packet.
pub fn any_packet() -> BoxedStrategy<(Version, Side, Packet<'static>)> {
    let versions = select(vec![Version::V31, Version::V311, Version::V5, Version::V5]);
    let senders = select(vec![Side::Client, Side::Server]);
    (versions, senders)
        .prop_flat_map(|(version, sender)| (Just(version), Just(sender), packet(version, sender)))
        .boxed()
}
