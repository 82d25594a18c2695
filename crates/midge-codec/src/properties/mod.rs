//! Properties (section 2.2.2): read in place from a validated block, or built into one.

mod buf;
mod message;
mod table;

use std::iter::FusedIterator;

use crate::wire::{Reader, Varint, put_varint, split_field, varint};
use crate::{DecodeError, EncodeError, Version};

pub use buf::PropertiesBuf;
pub use message::MessageProperties;
use table::Type;
pub(crate) use table::{Place, id, read};

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the specification's
pub enum Property<'a> {
    PayloadFormatIndicator(u8),
    MessageExpiryInterval(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpiryInterval(u32),
    AssignedClientIdentifier(&'a str),
    ServerKeepAlive(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(u8),
    WillDelayInterval(u32),
    RequestResponseInformation(u8),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    MaximumQoS(u8),
    RetainAvailable(u8),
    UserProperty(&'a str, &'a str),
    MaximumPacketSize(u32),
    WildcardSubscriptionAvailable(u8),
    SubscriptionIdentifierAvailable(u8),
    SharedSubscriptionAvailable(u8),
}

/// A value without its meaning.
#[derive(Clone, Copy)]
enum Value<'a> {
    Byte(u8),
    Short(u16),
    Long(u32),
    Varint(u32),
    Binary(&'a [u8]),
    Text(&'a str),
    Pair(&'a str, &'a str),
}

impl<'a> Property<'a> {
    /// Number of the property in section 2.2.2.2.
    pub const fn id(&self) -> u8 {
        self.parts().0
    }

    const fn parts(&self) -> (u8, Value<'a>) {
        match *self {
            Self::PayloadFormatIndicator(v) => (id::PAYLOAD_FORMAT_INDICATOR, Value::Byte(v)),
            Self::MessageExpiryInterval(v) => (id::MESSAGE_EXPIRY_INTERVAL, Value::Long(v)),
            Self::ContentType(v) => (id::CONTENT_TYPE, Value::Text(v)),
            Self::ResponseTopic(v) => (id::RESPONSE_TOPIC, Value::Text(v)),
            Self::CorrelationData(v) => (id::CORRELATION_DATA, Value::Binary(v)),
            Self::SubscriptionIdentifier(v) => (id::SUBSCRIPTION_IDENTIFIER, Value::Varint(v)),
            Self::SessionExpiryInterval(v) => (id::SESSION_EXPIRY_INTERVAL, Value::Long(v)),
            Self::AssignedClientIdentifier(v) => (id::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(v)),
            Self::ServerKeepAlive(v) => (id::SERVER_KEEP_ALIVE, Value::Short(v)),
            Self::AuthenticationMethod(v) => (id::AUTHENTICATION_METHOD, Value::Text(v)),
            Self::AuthenticationData(v) => (id::AUTHENTICATION_DATA, Value::Binary(v)),
            Self::RequestProblemInformation(v) => (id::REQUEST_PROBLEM_INFORMATION, Value::Byte(v)),
            Self::WillDelayInterval(v) => (id::WILL_DELAY_INTERVAL, Value::Long(v)),
            Self::RequestResponseInformation(v) => {
                (id::REQUEST_RESPONSE_INFORMATION, Value::Byte(v))
            }

            Self::ResponseInformation(v) => (id::RESPONSE_INFORMATION, Value::Text(v)),
            Self::ServerReference(v) => (id::SERVER_REFERENCE, Value::Text(v)),
            Self::ReasonString(v) => (id::REASON_STRING, Value::Text(v)),
            Self::ReceiveMaximum(v) => (id::RECEIVE_MAXIMUM, Value::Short(v)),
            Self::TopicAliasMaximum(v) => (id::TOPIC_ALIAS_MAXIMUM, Value::Short(v)),
            Self::TopicAlias(v) => (id::TOPIC_ALIAS, Value::Short(v)),
            Self::MaximumQoS(v) => (id::MAXIMUM_QOS, Value::Byte(v)),
            Self::RetainAvailable(v) => (id::RETAIN_AVAILABLE, Value::Byte(v)),
            Self::UserProperty(k, v) => (id::USER_PROPERTY, Value::Pair(k, v)),
            Self::MaximumPacketSize(v) => (id::MAXIMUM_PACKET_SIZE, Value::Long(v)),
            Self::WildcardSubscriptionAvailable(v) => {
                (id::WILDCARD_SUBSCRIPTION_AVAILABLE, Value::Byte(v))
            }
            Self::SubscriptionIdentifierAvailable(v) => {
                (id::SUBSCRIPTION_IDENTIFIER_AVAILABLE, Value::Byte(v))
            }
            Self::SharedSubscriptionAvailable(v) => {
                (id::SHARED_SUBSCRIPTION_AVAILABLE, Value::Byte(v))
            }
        }
    }

    /// Reads identifier and value, and checks the value's form but not its range.
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = *reader;
        let what = "property: value cut off";
        let bad_text = "property: value cut off or ill-formed";

        Ok(match reader.u8("property: missing")? {
            id::PAYLOAD_FORMAT_INDICATOR => Self::PayloadFormatIndicator(reader.u8(what)?),
            id::MESSAGE_EXPIRY_INTERVAL => Self::MessageExpiryInterval(reader.u32(what)?),
            id::CONTENT_TYPE => Self::ContentType(reader.string(bad_text)?),
            id::RESPONSE_TOPIC => Self::ResponseTopic(reader.string(bad_text)?),
            id::CORRELATION_DATA => Self::CorrelationData(reader.binary(what)?),
            id::SUBSCRIPTION_IDENTIFIER => Self::SubscriptionIdentifier(reader.varint(bad_text)?),
            id::SESSION_EXPIRY_INTERVAL => Self::SessionExpiryInterval(reader.u32(what)?),
            id::ASSIGNED_CLIENT_IDENTIFIER => {
                Self::AssignedClientIdentifier(reader.string(bad_text)?)
            }
            id::SERVER_KEEP_ALIVE => Self::ServerKeepAlive(reader.u16(what)?),
            id::AUTHENTICATION_METHOD => Self::AuthenticationMethod(reader.string(bad_text)?),
            id::AUTHENTICATION_DATA => Self::AuthenticationData(reader.binary(what)?),
            id::REQUEST_PROBLEM_INFORMATION => Self::RequestProblemInformation(reader.u8(what)?),
            id::WILL_DELAY_INTERVAL => Self::WillDelayInterval(reader.u32(what)?),
            id::REQUEST_RESPONSE_INFORMATION => Self::RequestResponseInformation(reader.u8(what)?),
            id::RESPONSE_INFORMATION => Self::ResponseInformation(reader.string(bad_text)?),
            id::SERVER_REFERENCE => Self::ServerReference(reader.string(bad_text)?),
            id::REASON_STRING => Self::ReasonString(reader.string(bad_text)?),
            id::RECEIVE_MAXIMUM => Self::ReceiveMaximum(reader.u16(what)?),
            id::TOPIC_ALIAS_MAXIMUM => Self::TopicAliasMaximum(reader.u16(what)?),
            id::TOPIC_ALIAS => Self::TopicAlias(reader.u16(what)?),
            id::MAXIMUM_QOS => Self::MaximumQoS(reader.u8(what)?),
            id::RETAIN_AVAILABLE => Self::RetainAvailable(reader.u8(what)?),
            // MQTT-1.5.7-1
            id::USER_PROPERTY => {
                Self::UserProperty(reader.string(bad_text)?, reader.string(bad_text)?)
            }

            id::MAXIMUM_PACKET_SIZE => Self::MaximumPacketSize(reader.u32(what)?),
            id::WILDCARD_SUBSCRIPTION_AVAILABLE => {
                Self::WildcardSubscriptionAvailable(reader.u8(what)?)
            }
            id::SUBSCRIPTION_IDENTIFIER_AVAILABLE => {
                Self::SubscriptionIdentifierAvailable(reader.u8(what)?)
            }
            id::SHARED_SUBSCRIPTION_AVAILABLE => {
                Self::SharedSubscriptionAvailable(reader.u8(what)?)
            }
            _ => return Err(start.malformed("property: unknown")),
        })
    }
}

/// A block of properties as it is on the wire, without its length. What [`crate::decode`] yields is
/// valid for the packet it came in.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Properties<'a>(pub(crate) &'a [u8]);

/// Finders for properties that occur once.
macro_rules! finders {
    ($($(#[$doc:meta])* $name:ident: $variant:ident -> $ty:ty;)*) => {
        impl<'a> Properties<'a> {
            $($(#[$doc])*
            pub fn $name(self) -> Option<$ty> {
                self.iter().find_map(|property| match property {
                    Property::$variant(value) => Some(value),
                    _ => None,
                })
            })*
        }
    };
}

finders! {
    /// Payload Format Indicator.
    payload_format: PayloadFormatIndicator -> u8;
    /// Message Expiry Interval in seconds.
    message_expiry: MessageExpiryInterval -> u32;
    /// Content Type.
    content_type: ContentType -> &'a str;
    /// Response Topic.
    response_topic: ResponseTopic -> &'a str;
    /// Correlation Data.
    correlation_data: CorrelationData -> &'a [u8];
    /// The first Subscription Identifier; the only one in a SUBSCRIBE.
    subscription_id: SubscriptionIdentifier -> u32;
    /// Session Expiry Interval in seconds.
    session_expiry: SessionExpiryInterval -> u32;
    /// Assigned Client Identifier.
    assigned_client_id: AssignedClientIdentifier -> &'a str;
    /// Server Keep Alive in seconds.
    server_keep_alive: ServerKeepAlive -> u16;
    /// Authentication Method.
    authentication_method: AuthenticationMethod -> &'a str;
    /// Authentication Data.
    authentication_data: AuthenticationData -> &'a [u8];
    /// Request Problem Information, 0 or 1.
    request_problem_information: RequestProblemInformation -> u8;
    /// Will Delay Interval in seconds.
    will_delay: WillDelayInterval -> u32;
    /// Request Response Information, 0 or 1.
    request_response_information: RequestResponseInformation -> u8;
    /// Response Information.
    response_information: ResponseInformation -> &'a str;
    /// Server Reference.
    server_reference: ServerReference -> &'a str;
    /// Reason String.
    reason_string: ReasonString -> &'a str;
    /// Receive Maximum.
    receive_maximum: ReceiveMaximum -> u16;
    /// Topic Alias Maximum.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// Topic Alias.
    topic_alias: TopicAlias -> u16;
    /// Maximum QoS, 0 or 1.
    maximum_qos: MaximumQoS -> u8;
    /// Retain Available, 0 or 1.
    retain_available: RetainAvailable -> u8;
    /// Maximum Packet Size in bytes.
    maximum_packet_size: MaximumPacketSize -> u32;
    /// Wildcard Subscription Available, 0 or 1.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> u8;
    /// Subscription Identifier Available, 0 or 1.
    subscription_identifier_available: SubscriptionIdentifierAvailable -> u8;
    /// Shared Subscription Available, 0 or 1.
    shared_subscription_available: SharedSubscriptionAvailable -> u8;
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self(&[]);

    /// Takes a block that [`MessageProperties::append_block`] or [`PropertiesBuf`] made. Other bytes
    /// do no harm: iteration ends where they are not properties.
    pub const fn from_block(block: &'a [u8]) -> Self {
        Self(block)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The block.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// All properties in their order.
    pub const fn iter(self) -> PropertiesIter<'a> {
        PropertiesIter { rest: self.0 }
    }

    /// All user properties in their order, name and value.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// All subscription identifiers in their order.
    pub fn subscription_ids(self) -> impl Iterator<Item = u32> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Iterator over [`Properties`].
#[derive(Clone, Debug)]
pub struct PropertiesIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.rest, self.rest.len());
        let property = Property::read(&mut reader).ok();
        self.rest = if property.is_some() {
            reader.rest()
        } else {
            &[]
        };
        property
    }
}

impl FusedIterator for PropertiesIter<'_> {}

/// Identifier and length of the property at the start of a block, without a look at its value.
fn span(block: &[u8]) -> Option<(u8, usize)> {
    let (id, tail) = block.split_first()?;
    let (ty, _) = table::property(*id)?;
    let rest = match ty {
        Type::Byte => tail.split_first()?.1,
        Type::Short => tail.split_first_chunk::<2>()?.1,
        Type::Long => tail.split_first_chunk::<4>()?.1,
        Type::Varint => match varint(tail) {
            Varint::Value(_, rest) => rest,
            Varint::Partial | Varint::Bad => return None,
        },
        Type::Binary | Type::Text => split_field(tail)?.1,
        Type::Pair => split_field(split_field(tail)?.1)?.1,
    };
    Some((*id, block.len() - rest.len()))
}

/// Whether there may be several of a property in one packet.
const fn is_repeatable(id: u8) -> bool {
    matches!(id, id::USER_PROPERTY | id::SUBSCRIPTION_IDENTIFIER)
}

/// The properties of a block as bytes, identifier first.
struct Spans<'a>(&'a [u8]);

impl<'a> Iterator for Spans<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, len) = span(self.0)?;
        let (property, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some((id, property))
    }
}

/// Length of properties with their length in front; 0 before 5.0.
pub(crate) fn properties_len(
    properties: Properties<'_>,
    version: Version,
) -> Result<usize, EncodeError> {
    match version {
        Version::V5 => crate::wire::block_len(properties.as_bytes().len()),
        Version::V31 | Version::V311 => Ok(0),
    }
}

/// Appends properties with their length in front (MQTT-2.2.2-1); nothing before 5.0.
pub(crate) fn put_properties(properties: Properties<'_>, version: Version, out: &mut Vec<u8>) {
    if version == Version::V5 {
        put_varint(out, properties.as_bytes().len() as u32);
        out.extend_from_slice(properties.as_bytes());
    }
}

#[cfg(test)]
mod tests;
