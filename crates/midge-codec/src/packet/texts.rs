//! The texts of a packet, wherever they stand.

use crate::{Packet, Properties, Property};

impl Packet<'_> {
    /// Whether `test` holds for any UTF-8 string of the packet: client identifier, user name, topics,
    /// filters, and those among the properties, the will's included. Binary data is none.
    pub fn any_text(&self, mut test: impl FnMut(&str) -> bool) -> bool {
        let test = &mut test;

        match self {
            Self::Connect(connect) => {
                let will = connect.will.as_ref();
                test(connect.client_id)
                    || connect.username.is_some_and(&mut *test)
                    || will.is_some_and(|will| test(will.topic) || any(will.properties, test))
                    || any(connect.properties, test)
            }
            Self::Publish(publish) => test(publish.topic) || any(publish.properties, test),
            Self::Subscribe(subscribe) => {
                (subscribe.filters.iter()).any(|filter| test(filter.filter))
                    || any(subscribe.properties, test)
            }
            Self::Unsubscribe(unsubscribe) => {
                (unsubscribe.filters.iter()).any(|filter| test(filter))
                    || any(unsubscribe.properties, test)
            }
            Self::Connack(connack) => any(connack.properties, test),
            Self::Puback(ack) | Self::Pubrec(ack) | Self::Pubrel(ack) | Self::Pubcomp(ack) => {
                any(ack.properties, test)
            }
            Self::Suback(suback) => any(suback.properties, test),
            Self::Unsuback(unsuback) => any(unsuback.properties, test),
            Self::Disconnect(disconnect) => any(disconnect.properties, test),
            Self::Auth(auth) => any(auth.properties, test),
            Self::Pingreq | Self::Pingresp => false,
        }
    }
}

fn any(properties: Properties<'_>, test: &mut impl FnMut(&str) -> bool) -> bool {
    properties.iter().any(|property| match property {
        Property::ContentType(text)
        | Property::ResponseTopic(text)
        | Property::AssignedClientIdentifier(text)
        | Property::AuthenticationMethod(text)
        | Property::ResponseInformation(text)
        | Property::ServerReference(text)
        | Property::ReasonString(text) => test(text),
        Property::UserProperty(name, value) => test(name) || test(value),
        Property::PayloadFormatIndicator(_)
        | Property::MessageExpiryInterval(_)
        | Property::CorrelationData(_)
        | Property::SubscriptionIdentifier(_)
        | Property::SessionExpiryInterval(_)
        | Property::ServerKeepAlive(_)
        | Property::AuthenticationData(_)
        | Property::RequestProblemInformation(_)
        | Property::WillDelayInterval(_)
        | Property::RequestResponseInformation(_)
        | Property::ReceiveMaximum(_)
        | Property::TopicAliasMaximum(_)
        | Property::TopicAlias(_)
        | Property::MaximumQoS(_)
        | Property::RetainAvailable(_)
        | Property::MaximumPacketSize(_)
        | Property::WildcardSubscriptionAvailable(_)
        | Property::SubscriptionIdentifierAvailable(_)
        | Property::SharedSubscriptionAvailable(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        Ack, Auth, Connack, Connect, Disconnect, Packet, PropertiesBuf, Property, Publish, QoS,
        ReasonCode, Suback, Subscribe, SubscribeFilter, SubscriptionOptions, Unsuback, Unsubscribe,
        Version, Will,
    };

    /// All texts, in the order in which they are looked at.
    fn texts(packet: &Packet<'_>) -> Vec<String> {
        let mut texts = Vec::new();
        packet.any_text(|text| {
            texts.push(text.to_owned());
            false
        });
        texts
    }

    #[test]
    fn every_text_of_every_packet_is_looked_at() {
        let mut own = PropertiesBuf::new();
        for property in [
            Property::UserProperty("name", "value"),
            Property::ReasonString("reason"),
        ] {
            own.push(property).expect("a property");
        }

        let mut more = PropertiesBuf::new();
        for property in [
            Property::ContentType("type"),
            Property::ResponseTopic("response"),
            Property::CorrelationData(b"binary"),
            Property::AssignedClientIdentifier("assigned"),
            Property::AuthenticationMethod("method"),
            Property::AuthenticationData(b"binary"),
            Property::ResponseInformation("information"),
            Property::ServerReference("server"),
        ] {
            more.push(property).expect("a property");
        }

        let (properties, more) = (own.as_properties(), more.as_properties());
        let (packet_id, reason) = (1, ReasonCode::Success);
        let connect = Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: "client",
            properties,
            will: Some(Will {
                qos: QoS::AtMostOnce,
                retain: false,
                topic: "will",
                payload: b"binary",
                properties: more,
            }),
            username: Some("user"),
            password: Some(b"binary"),
        };

        let filter = |filter| SubscribeFilter {
            filter,
            options: SubscriptionOptions::default(),
        };

        let ack = Ack {
            packet_id,
            reason,
            properties,
        };

        let of_more = [
            "type",
            "response",
            "assigned",
            "method",
            "information",
            "server",
        ];
        let of_connect = [&["client", "user", "will"][..], &of_more].concat();

        let cases = [
            (Packet::Connect(connect), of_connect),
            (
                Packet::Publish(Publish {
                    dup: false,
                    qos: QoS::AtMostOnce,
                    retain: false,
                    topic: "topic",
                    packet_id: 0,
                    properties,
                    payload: b"binary",
                }),
                vec!["topic"],
            ),
            (
                Packet::Subscribe(Subscribe {
                    packet_id,
                    properties,
                    filters: vec![filter("a"), filter("b")],
                }),
                vec!["a", "b"],
            ),
            (
                Packet::Unsubscribe(Unsubscribe {
                    packet_id,
                    properties,
                    filters: vec!["a", "b"],
                }),
                vec!["a", "b"],
            ),
            (
                Packet::Connack(Connack {
                    session_present: false,
                    reason,
                    properties,
                }),
                vec![],
            ),
            (Packet::Puback(ack), vec![]),
            (Packet::Pubrec(ack), vec![]),
            (Packet::Pubrel(ack), vec![]),
            (Packet::Pubcomp(ack), vec![]),
            (
                Packet::Suback(Suback {
                    packet_id,
                    properties,
                    reasons: vec![reason],
                }),
                vec![],
            ),
            (
                Packet::Unsuback(Unsuback {
                    packet_id,
                    properties,
                    reasons: vec![reason],
                }),
                vec![],
            ),
            (
                Packet::Disconnect(Disconnect { reason, properties }),
                vec![],
            ),
            (Packet::Auth(Auth { reason, properties }), vec![]),
        ];

        for (packet, mut expected) in cases {
            expected.extend(["name", "value", "reason"]);
            assert_eq!(texts(&packet), expected, "{packet:?}");
            let last = |text: &str| text == "reason";
            assert!(packet.any_text(last) && !packet.any_text(|text| text == "binary"));
        }

        assert!(texts(&Packet::Pingreq).is_empty() && texts(&Packet::Pingresp).is_empty());
    }
}
