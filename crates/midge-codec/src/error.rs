//! Errors: of a peer that sent bad bytes, and of a caller that asked for a packet that cannot be.

use std::error::Error;
use std::fmt;

use crate::ReasonCode;

/// The peer broke a rule. `reason` is what it may be told before the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Which field or rule, for a person to read.
    pub what: &'static str,
    /// Where, in bytes from the start of the packet.
    pub offset: usize,
    /// Reason code of 5.0; before 5.0 the connection is just closed, but for a CONNECT whose
    /// reason has a [`ReasonCode::v3_connack`].
    pub reason: ReasonCode,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (at byte {})",
            self.reason, self.what, self.offset
        )
    }
}

impl Error for DecodeError {}

/// The packet cannot be written as asked. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field is longer than 65,535 bytes.
    FieldTooLong,
    /// A string has the character U+0000 in it (MQTT-1.5.4-2).
    NulCharacter,
    /// The packet would be longer than [`crate::MAX_PACKET_BYTES`].
    PacketTooLarge,
    /// A packet identifier of 0 where there has to be one (MQTT-2.2.1-3).
    PacketIdZero,
    /// A list that has to have at least one entry is empty (MQTT-3.8.3-2, MQTT-3.10.3-2).
    EmptyList,
    /// A subscription identifier above [`crate::MAX_VARINT`].
    ValueOutOfRange,
    /// This version of the protocol cannot say this.
    NotInVersion,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FieldTooLong => "a field is longer than 65535 bytes",
            Self::NulCharacter => "a string contains the character U+0000",
            Self::PacketTooLarge => "the packet is longer than MQTT allows",
            Self::PacketIdZero => "a packet identifier of 0",
            Self::EmptyList => "a packet without entries",
            Self::ValueOutOfRange => "a variable byte integer above 268435455",
            Self::NotInVersion => "not possible in this version of MQTT",
        })
    }
}

impl Error for EncodeError {}
