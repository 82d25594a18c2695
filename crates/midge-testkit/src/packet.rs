//! Packets that a broker sends, as they were read.

use crate::props::Props;

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// QoS 1, the only one.
    Puback,
    /// QoS 2, first.
    Pubrec,
    /// QoS 2, second.
    Pubrel,
    /// QoS 2, third.
    Pubcomp,
}

/// Any packet that a broker may send.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet {
    /// CONNACK.
    Connack(Connack),
    /// PUBLISH.
    Publish(Message),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(Ack),
    /// SUBACK.
    Suback(Codes),
    /// UNSUBACK.
    Unsuback(Codes),
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT.
    Disconnect(Disconnect),
    /// AUTH.
    Auth(Auth),
}

/// A CONNACK.
#[derive(Clone, Debug, PartialEq)]
pub struct Connack {
    /// Session Present.
    pub session_present: bool,
    /// Reason code, or return code before version 5.
    pub code: u8,
    /// Properties.
    pub props: Props,
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic Name; one that was left out in favour of an alias is filled in.
    pub topic: String,
    /// Topic Name as it was written.
    pub written_topic: String,
    /// Packet Identifier, 0 if there is none.
    pub id: u16,
    /// Properties.
    pub props: Props,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// The payload as text, for comparing.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// Which.
    pub kind: Kind,
    /// Packet Identifier.
    pub id: u16,
    /// Reason code, 0 if it was left out.
    pub code: u8,
    /// Properties.
    pub props: Props,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    /// Packet Identifier.
    pub id: u16,
    /// One code for each filter; none in an UNSUBACK before version 5.
    pub codes: Vec<u8>,
    /// Properties.
    pub props: Props,
}

/// A DISCONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Disconnect {
    /// Reason code.
    pub code: u8,
    /// Properties.
    pub props: Props,
}

/// An AUTH.
#[derive(Clone, Debug, PartialEq)]
pub struct Auth {
    /// Reason code.
    pub code: u8,
    /// Properties.
    pub props: Props,
}
