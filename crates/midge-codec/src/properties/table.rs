//! The table of section 2.2.2.2: which property has which type and may stand in which packet.

use crate::wire::Reader;
use crate::{DecodeError, DecodeLimits, Properties, Property, ReasonCode, Side};

/// A place that properties can stand in. Where the two sides differ there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Place {
    Connect,
    Will,
    Connack,
    PublishFromClient,
    PublishFromServer,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    DisconnectFromClient,
    DisconnectFromServer,
    Auth,
}

impl Place {
    const fn bit(self) -> u16 {
        1 << self as u8
    }

    pub(crate) const fn publish(sender: Side) -> Self {
        match sender {
            Side::Client => Self::PublishFromClient,
            Side::Server => Self::PublishFromServer,
        }
    }

    pub(crate) const fn disconnect(sender: Side) -> Self {
        match sender {
            Side::Client => Self::DisconnectFromClient,
            Side::Server => Self::DisconnectFromServer,
        }
    }
}

/// Type of a property's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Byte,
    Short,
    Long,
    Varint,
    Binary,
    Text,
    Pair,
}

const CONNECT: u16 = Place::Connect.bit();
const WILL: u16 = Place::Will.bit();
const CONNACK: u16 = Place::Connack.bit();
const PUBLISH: u16 = Place::PublishFromClient.bit() | Place::PublishFromServer.bit();
const ACKS: u16 =
    Place::Puback.bit() | Place::Pubrec.bit() | Place::Pubrel.bit() | Place::Pubcomp.bit();
const SUBSCRIBE: u16 = Place::Subscribe.bit();
const LIST_ACKS: u16 = Place::Suback.bit() | Place::Unsuback.bit();
const DISCONNECT: u16 = Place::DisconnectFromClient.bit() | Place::DisconnectFromServer.bit();
const AUTH: u16 = Place::Auth.bit();
const EVERYWHERE: u16 = u16::MAX;

/// Type of a property and the places where it may stand, `None` if there is no such property.
pub(super) const fn property(id: u8) -> Option<(Type, u16)> {
    Some(match id {
        id::PAYLOAD_FORMAT_INDICATOR => (Type::Byte, WILL | PUBLISH),
        id::MESSAGE_EXPIRY_INTERVAL => (Type::Long, WILL | PUBLISH),
        id::CONTENT_TYPE => (Type::Text, WILL | PUBLISH),
        id::RESPONSE_TOPIC => (Type::Text, WILL | PUBLISH),
        id::CORRELATION_DATA => (Type::Binary, WILL | PUBLISH),
        id::SUBSCRIPTION_IDENTIFIER => (Type::Varint, Place::PublishFromServer.bit() | SUBSCRIBE),
        id::SESSION_EXPIRY_INTERVAL => (
            Type::Long,
            CONNECT | CONNACK | Place::DisconnectFromClient.bit(),
        ),
        id::ASSIGNED_CLIENT_IDENTIFIER => (Type::Text, CONNACK),
        id::SERVER_KEEP_ALIVE => (Type::Short, CONNACK),
        id::AUTHENTICATION_METHOD => (Type::Text, CONNECT | CONNACK | AUTH),
        id::AUTHENTICATION_DATA => (Type::Binary, CONNECT | CONNACK | AUTH),
        id::REQUEST_PROBLEM_INFORMATION => (Type::Byte, CONNECT),

        id::WILL_DELAY_INTERVAL => (Type::Long, WILL),
        id::REQUEST_RESPONSE_INFORMATION => (Type::Byte, CONNECT),
        id::RESPONSE_INFORMATION => (Type::Text, CONNACK),
        id::SERVER_REFERENCE => (Type::Text, CONNACK | Place::DisconnectFromServer.bit()),
        id::REASON_STRING => (Type::Text, CONNACK | ACKS | LIST_ACKS | DISCONNECT | AUTH),
        id::RECEIVE_MAXIMUM => (Type::Short, CONNECT | CONNACK),
        id::TOPIC_ALIAS_MAXIMUM => (Type::Short, CONNECT | CONNACK),
        id::TOPIC_ALIAS => (Type::Short, PUBLISH),
        id::MAXIMUM_QOS => (Type::Byte, CONNACK),
        id::RETAIN_AVAILABLE => (Type::Byte, CONNACK),
        id::USER_PROPERTY => (Type::Pair, EVERYWHERE),
        id::MAXIMUM_PACKET_SIZE => (Type::Long, CONNECT | CONNACK),
        id::WILDCARD_SUBSCRIPTION_AVAILABLE
        | id::SUBSCRIPTION_IDENTIFIER_AVAILABLE
        | id::SHARED_SUBSCRIPTION_AVAILABLE => (Type::Byte, CONNACK),
        _ => return None,
    })
}

/// The identifiers by name.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// Which properties a block has, as a set of identifiers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen(u64);

impl Seen {
    fn has(self, id: u8) -> bool {
        self.0 & (1 << (id & 63)) != 0
    }

    fn add(&mut self, id: u8) {
        self.0 |= 1 << (id & 63);
    }

    #[inline]
    pub(crate) fn topic_alias(self) -> bool {
        self.has(id::TOPIC_ALIAS)
    }

    pub(crate) fn authentication_method(self) -> bool {
        self.has(id::AUTHENTICATION_METHOD)
    }
}

/// Reads the length of a block and the block, and checks every rule that needs no more than the
/// block to be checked.
#[inline]
pub(crate) fn read<'a>(
    reader: &mut Reader<'a>,
    place: Place,
    limits: DecodeLimits,
) -> Result<(Properties<'a>, Seen), DecodeError> {
    let len = reader.varint("property length: missing or ill-formed")?;
    if len == 0 {
        return Ok((Properties::EMPTY, Seen::default()));
    }
    let block = reader.sub(len as usize, "property length: beyond the packet")?;
    let seen = check(block, place, limits)?;
    Ok((Properties(block.rest()), seen))
}

fn check(mut reader: Reader<'_>, place: Place, limits: DecodeLimits) -> Result<Seen, DecodeError> {
    let mut seen = Seen::default();
    let mut user_properties = 0;
    while !reader.is_empty() {
        let start = reader;
        // An identifier is a variable byte integer, but there is none above one byte.
        let id = { reader }.u8("property: missing")?;
        let Some((_, places)) = property(id) else {
            return Err(start.malformed("property: unknown"));
        };
        if places & place.bit() == 0 {
            return Err(misplaced(start, id, place));
        }
        let repeatable = id == id::USER_PROPERTY
            || (id == id::SUBSCRIPTION_IDENTIFIER && place == Place::PublishFromServer);
        if seen.has(id) && !repeatable {
            return Err(start.protocol_error("property: twice"));
        }
        if id == id::USER_PROPERTY {
            user_properties += 1;
            if user_properties > limits.user_properties {
                return Err(start.error("user properties: too many", ReasonCode::QuotaExceeded));
            }
        }
        seen.add(id);
        let property = Property::read(&mut reader)?;
        if let Some((what, reason)) = range_fault(&property) {
            return Err(start.error(what, reason));
        }
    }

    if seen.has(id::AUTHENTICATION_DATA) && !seen.authentication_method() {
        return Err(reader.protocol_error("authentication data: without method"));
    }

    Ok(seen)
}

/// A property of another packet is malformed (section 2.2.2.2), but for two that the specification
/// calls Protocol Errors.
#[cold]
fn misplaced(start: Reader<'_>, id: u8, place: Place) -> DecodeError {
    match (id, place) {
        // MQTT-3.3.4-6
        (id::SUBSCRIPTION_IDENTIFIER, Place::PublishFromClient) => {
            start.protocol_error("subscription identifier: from a client")
        }
        // MQTT-3.14.2-2
        (id::SESSION_EXPIRY_INTERVAL, Place::DisconnectFromServer) => {
            start.protocol_error("session expiry interval: from a server")
        }
        _ => start.malformed("property: not allowed in this packet"),
    }
}

/// The rules about values.
#[inline(always)]
pub(super) fn range_fault(property: &Property<'_>) -> Option<(&'static str, ReasonCode)> {
    let what = match *property {
        Property::PayloadFormatIndicator(2..) => "payload format indicator: above 1",
        Property::RequestProblemInformation(2..) => "request problem information: above 1",
        Property::RequestResponseInformation(2..) => "request response information: above 1",
        Property::MaximumQoS(2..) => "maximum QoS: above 1",
        Property::RetainAvailable(2..) => "retain available: above 1",
        Property::WildcardSubscriptionAvailable(2..) => "wildcard subscription available: above 1",
        Property::SubscriptionIdentifierAvailable(2..) => {
            "subscription identifier available: above 1"
        }
        Property::SharedSubscriptionAvailable(2..) => "shared subscription available: above 1",
        Property::SubscriptionIdentifier(0) => "subscription identifier: 0",
        Property::ReceiveMaximum(0) => "receive maximum: 0",
        Property::MaximumPacketSize(0) => "maximum packet size: 0",
        // MQTT-3.3.2-8
        Property::TopicAlias(0) => return Some(("topic alias: 0", ReasonCode::TopicAliasInvalid)),
        // MQTT-3.3.2-14; an empty one is no topic name either (MQTT-4.7.3-1).
        Property::ResponseTopic(topic) if crate::TopicName::new(topic).is_err() => {
            "response topic: empty or with wildcard"
        }
        _ => return None,
    };

    Some((what, ReasonCode::ProtocolError))
}
