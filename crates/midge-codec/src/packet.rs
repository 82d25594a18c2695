//! The packets, as values that borrow from the bytes they were decoded from.

pub(crate) mod ack;
pub(crate) mod auth;
pub(crate) mod connack;
pub(crate) mod connect;
pub(crate) mod disconnect;
pub(crate) mod subscribe;
mod texts;
pub(crate) mod unsubscribe;

use crate::reason::ReasonPacket;
use crate::wire::Reader;
use crate::{
    DecodeError, Properties, Publish, QoS, RawPacket, ReasonCode, Side, TopicFilter, Version,
};

/// What a new subscription wants to see of the retained messages (MQTT-3.3.1-9 to 11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: at every SUBSCRIBE.
    #[default]
    Send = 0,
    /// 1: only if the subscription did not exist.
    SendIfNew = 1,
    /// 2: never.
    DoNotSend = 2,
}

/// Subscription options (section 3.8.3.1). For 3.1.1 and 3.1 only the QoS can differ from the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// Maximum QoS asked for.
    pub qos: QoS,
    /// Do not send a client its own messages.
    pub no_local: bool,
    /// Keep the RETAIN flag as published.
    pub retain_as_published: bool,
    /// Retain handling.
    pub retain_handling: RetainHandling,
}

/// One filter of a SUBSCRIBE with its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeFilter<'a> {
    /// The filter as sent, `$share/...` included; always a valid [`crate::TopicFilter`].
    pub filter: &'a str,
    /// Its options.
    pub options: SubscriptionOptions,
}

/// CONNECT (section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Protocol version.
    pub version: Version,
    /// Whether the protocol level has the bit 0x80, with which a bridge of 3.1 or 3.1.1 asks not to
    /// get its own messages back, and for the RETAIN flag as published. Never in 5.0, which has
    /// subscription options for both.
    pub bridge: bool,
    /// Clean Start, or Clean Session before 5.0.
    pub clean_start: bool,
    /// Keep Alive in seconds, 0 for none.
    pub keep_alive: u16,
    /// Client identifier, empty if the server is to assign one.
    pub client_id: &'a str,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
    /// Will message.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
}

/// The will in CONNECT (section 3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will topic, always a valid [`crate::TopicName`].
    pub topic: &'a str,
    /// Will payload.
    pub payload: &'a [u8],
    /// Will properties, empty before 5.0.
    pub properties: Properties<'a>,
}

/// CONNACK (section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack<'a> {
    /// Session Present; never sent to 3.1 clients.
    pub session_present: bool,
    /// Reason code; mapped to a return code for 3.1.1 and 3.1.
    pub reason: ReasonCode,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Packet identifier of the PUBLISH, never 0.
    pub packet_id: u16,
    /// Reason code, `Success` before 5.0.
    pub reason: ReasonCode,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE (section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet identifier, never 0.
    pub packet_id: u16,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
    /// At least one filter.
    pub filters: Vec<SubscribeFilter<'a>>,
}

/// SUBACK (section 3.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suback<'a> {
    /// Packet identifier of the SUBSCRIBE.
    pub packet_id: u16,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
    /// One code per filter, in order.
    pub reasons: Vec<ReasonCode>,
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier, never 0.
    pub packet_id: u16,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
    /// At least one filter.
    pub filters: Vec<&'a str>,
}

/// UNSUBACK (section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsuback<'a> {
    /// Packet identifier of the UNSUBSCRIBE.
    pub packet_id: u16,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
    /// One code per filter, in order; empty (and not encoded) before 5.0.
    pub reasons: Vec<ReasonCode>,
}

/// DISCONNECT (section 3.14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Reason code, `Success` before 5.0.
    pub reason: ReasonCode,
    /// Properties, empty before 5.0.
    pub properties: Properties<'a>,
}

/// AUTH (section 3.15), 5.0 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// Properties.
    pub properties: Properties<'a>,
}

/// Any MQTT control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the specification's
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Ack<'a>),
    Pubrec(Ack<'a>),
    Pubrel(Ack<'a>),
    Pubcomp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

/// Flags of PUBREL, SUBSCRIBE and UNSUBSCRIBE. In 3.1 they are sent with QoS 1 like a PUBLISH, and
/// again with DUP set.
fn expect_qos1_flags(raw: &RawPacket<'_>, version: Version) -> Result<(), DecodeError> {
    match raw.flags() {
        0b0010 => Ok(()),
        0b1010 if version.is_v31() => Ok(()),
        _ => Err(raw.bad_flags()),
    }
}

/// A reason code that this sender may put into this packet.
fn reason(
    reader: &mut Reader<'_>,
    carrier: ReasonPacket,
    sender: Side,
) -> Result<ReasonCode, DecodeError> {
    let start = *reader;
    match ReasonCode::from_u8(reader.u8("reason code: missing")?) {
        Some(reason) if reason.is_allowed(carrier, sender) => Ok(reason),
        Some(_) => Err(start.protocol_error("reason code: not for this packet or sender")),
        None => Err(start.malformed("reason code: unknown")),
    }
}

/// A topic filter (MQTT-3.8.3-1, MQTT-3.10.3-1).
fn filter<'a>(reader: &mut Reader<'a>) -> Result<TopicFilter<'a>, DecodeError> {
    let start = *reader;
    let text = reader.text("topic filter: missing or ill-formed")?;
    TopicFilter::new(text).map_err(|error| start.error(error.what(), error.reason()))
}
