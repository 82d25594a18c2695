//! From packets to bytes: the exact size first, then nothing can fail any more.

use crate::packet::{ack, auth, connack, connect, disconnect, subscribe, unsubscribe};
use crate::wire::{MAX_VARINT, put_varint, varint_len};
use crate::{EncodeError, Packet, Version, publish};

/// Length of the packet in bytes, fixed header included.
pub fn encoded_len(packet: &Packet<'_>, version: Version) -> Result<usize, EncodeError> {
    remaining_len(packet, version).map(|remaining| 1 + varint_len(remaining) + remaining as usize)
}

/// Appends the packet to `out`, or nothing if it cannot be encoded. The version of a CONNECT is its
/// own, whatever `version` says.
///
/// What this version does not have is left out: properties, the reasons of PUBACK, PUBREC, PUBREL
/// and PUBCOMP and the list of UNSUBACK before 5.0, Session Present in 3.1. Where leaving out would
/// tell the receiver something else, it is an error: [`EncodeError::NotInVersion`].
///
/// Whether properties belong to the packet is not checked here; [`crate::decode`] does.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let remaining = remaining_len(packet, version)?;
    let len = 1 + varint_len(remaining) + remaining as usize;
    out.reserve(len);

    let start = out.len();
    out.push(header(packet));
    put_varint(out, remaining);
    match packet {
        Packet::Connect(connect) => connect::put(connect, out),
        Packet::Connack(connack) => connack::put(connack, version, out),
        Packet::Publish(publish) => publish::put(publish, version, out),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            ack::put(ack, version, out);
        }
        Packet::Subscribe(subscribe) => subscribe::put(subscribe, version, out),
        Packet::Suback(suback) => subscribe::put_ack(suback, version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe::put(unsubscribe, version, out),
        Packet::Unsuback(unsuback) => unsubscribe::put_ack(unsuback, version, out),
        Packet::Pingreq | Packet::Pingresp => {}
        Packet::Disconnect(disconnect) => disconnect::put(disconnect, version, out),
        Packet::Auth(auth) => auth::put(auth, out),
    }

    debug_assert_eq!(out.len() - start, len);
    Ok(())
}

fn header(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::Connect(_) => 0x10,
        Packet::Connack(_) => 0x20,
        Packet::Publish(publish) => publish::header(publish.dup, publish.qos, publish.retain),
        Packet::Puback(_) => 0x40,
        Packet::Pubrec(_) => 0x50,
        Packet::Pubrel(_) => 0x62,
        Packet::Pubcomp(_) => 0x70,
        Packet::Subscribe(_) => 0x82,
        Packet::Suback(_) => 0x90,
        Packet::Unsubscribe(_) => 0xA2,
        Packet::Unsuback(_) => 0xB0,
        Packet::Pingreq => 0xC0,
        Packet::Pingresp => 0xD0,
        Packet::Disconnect(_) => 0xE0,
        Packet::Auth(_) => 0xF0,
    }
}

fn remaining_len(packet: &Packet<'_>, version: Version) -> Result<u32, EncodeError> {
    let remaining = match packet {
        Packet::Connect(connect) => connect::len(connect)?,
        Packet::Connack(connack) => connack::len(connack, version)?,
        Packet::Publish(publish) => publish::len(publish, version)?,
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            ack::len(ack, version)?
        }
        Packet::Subscribe(subscribe) => subscribe::len(subscribe, version)?,
        Packet::Suback(suback) => subscribe::ack_len(suback, version)?,
        Packet::Unsubscribe(unsubscribe) => unsubscribe::len(unsubscribe, version)?,
        Packet::Unsuback(unsuback) => unsubscribe::ack_len(unsuback, version)?,
        Packet::Pingreq | Packet::Pingresp => 0,
        Packet::Disconnect(disconnect) => disconnect::len(disconnect, version)?,
        Packet::Auth(auth) => auth::len(auth, version)?,
    };

    match u32::try_from(remaining) {
        Ok(remaining) if remaining <= MAX_VARINT => Ok(remaining),
        _ => Err(EncodeError::PacketTooLarge),
    }
}
