//! From bytes to packets: find the end of a packet, then read it by its type.

use crate::packet::{ack, auth, connack, connect, disconnect, subscribe, unsubscribe};
use crate::publish;
use crate::reason::Carrier;
use crate::wire::{Reader, Varint, varint};
use crate::{DecodeError, MAX_PACKET_BYTES, Packet, ReasonCode, Version};

/// Who sent some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client: a server decodes.
    Client,
    /// The server: a client decodes.
    Server,
}

/// One packet whose end is known, but whose content has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// First byte: packet type and flags.
    pub header: u8,
    /// Everything behind the remaining length.
    pub body: &'a [u8],
    /// Length of the whole packet, fixed header included.
    pub len: usize,
}

impl<'a> RawPacket<'a> {
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.body, self.len)
    }

    /// Low four bits of the header.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.header & 0x0F
    }

    /// Checks flags that have a fixed value (MQTT-2.1.3-1, MQTT-2.2.2-2).
    #[inline]
    pub(crate) fn expect_flags(&self, flags: u8) -> Result<(), DecodeError> {
        if self.flags() == flags {
            Ok(())
        } else {
            Err(self.bad_flags())
        }
    }

    #[cold]
    pub(crate) fn bad_flags(&self) -> DecodeError {
        DecodeError {
            what: "fixed header: flags",
            offset: 0,
            reason: ReasonCode::MalformedPacket,
        }
    }

    #[cold]
    fn error(&self, what: &'static str, reason: ReasonCode) -> DecodeError {
        DecodeError {
            what,
            offset: 0,
            reason,
        }
    }
}

/// Splits the first packet off `bytes`; it ends at [`RawPacket::len`]. `None` means that more bytes
/// are needed.
///
/// `max` is the length of the longest packet that is taken, fixed header included. A longer one is
/// refused as soon as its length is there (MQTT-3.2.2-15), and so is an ill-formed length
/// (MQTT-1.5.5-1): nobody waits for the body of a packet that will not be read.
#[inline]
pub fn split(bytes: &[u8], max: u32) -> Result<Option<RawPacket<'_>>, DecodeError> {
    let Some((&header, tail)) = bytes.split_first() else {
        return Ok(None);
    };
    let (remaining, tail) = match varint(tail) {
        Varint::Value(remaining, tail) => (remaining as usize, tail),
        Varint::Partial => return Ok(None),
        Varint::Bad => {
            return Err(DecodeError {
                what: "remaining length: ill-formed",
                offset: 1,
                reason: ReasonCode::MalformedPacket,
            });
        }
    };
    let len = bytes.len() - tail.len() + remaining;
    if len > max as usize {
        return Err(DecodeError {
            what: "packet: longer than allowed",
            offset: 1,
            reason: ReasonCode::PacketTooLarge,
        });
    }
    Ok(tail
        .get(..remaining)
        .map(|body| RawPacket { header, body, len }))
}

/// Reads a packet that `sender` sent on a connection of this version. The version of a CONNECT is
/// its own, whatever `version` says.
///
/// Packets that `sender` never sends are Protocol Errors. After an error the connection has to be
/// closed (MQTT-4.8.0-1, MQTT-4.13.1-1).
#[inline]
pub fn decode<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
) -> Result<Packet<'a>, DecodeError> {
    debug_assert!(raw.len <= MAX_PACKET_BYTES);
    if raw.header >> 4 == 3 {
        return publish::decode(raw, version, sender).map(Packet::Publish);
    }
    decode_other(raw, version, sender)
}

#[inline(never)]
fn decode_other<'a>(
    raw: RawPacket<'a>,
    version: Version,
    sender: Side,
) -> Result<Packet<'a>, DecodeError> {
    use Side::{Client, Server};
    match (raw.header >> 4, sender) {
        (1, Client) => connect::decode(raw).map(Packet::Connect),
        (2, Server) => connack::decode(raw, version).map(Packet::Connack),
        (4, _) => ack::decode(raw, version, sender, Carrier::Puback).map(Packet::Puback),
        (5, _) => ack::decode(raw, version, sender, Carrier::Pubrec).map(Packet::Pubrec),
        (6, _) => ack::decode(raw, version, sender, Carrier::Pubrel).map(Packet::Pubrel),
        (7, _) => ack::decode(raw, version, sender, Carrier::Pubcomp).map(Packet::Pubcomp),
        (8, Client) => subscribe::decode(raw, version).map(Packet::Subscribe),
        (9, Server) => subscribe::decode_ack(raw, version).map(Packet::Suback),
        (10, Client) => unsubscribe::decode(raw, version).map(Packet::Unsubscribe),
        (11, Server) => unsubscribe::decode_ack(raw, version).map(Packet::Unsuback),
        (12, Client) => decode_ping(raw).map(|()| Packet::Pingreq),
        (13, Server) => decode_ping(raw).map(|()| Packet::Pingresp),
        (14, _) if version == Version::V5 || sender == Client => {
            disconnect::decode(raw, version, sender).map(Packet::Disconnect)
        }
        (15, _) if version == Version::V5 => auth::decode(raw, sender).map(Packet::Auth),
        (0 | 15.., _) => Err(raw.error("fixed header: reserved type", ReasonCode::MalformedPacket)),
        _ => Err(raw.error(
            "fixed header: packet of the other side",
            ReasonCode::ProtocolError,
        )),
    }
}

fn decode_ping(raw: RawPacket<'_>) -> Result<(), DecodeError> {
    raw.expect_flags(0)?;
    raw.reader().finish("ping: bytes behind the end")
}
