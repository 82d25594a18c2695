//! Input that a connection accepts, and the faults of other input.

use midge_codec::{DecodeError, Packet, RawPacket, Side};

use super::{CONNECT, Connection, Fault, Phase, second_connect};
use crate::reason::DisconnectReason;

pub(super) fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

impl Connection {
    /// The fault of a packet that cannot be decoded: after CONNACK a DISCONNECT, before it a
    /// CONNACK for 5.0 clients and silence for others.
    pub(super) fn decode_fault(&mut self, error: &DecodeError, bytes: &[u8]) -> Fault {
        if self.session.is_none() {
            if matches!(self.phase, Phase::Fresh) {
                self.refuse_malformed(error, bytes);
            }
            return Fault::silent(DisconnectReason::ProtocolViolation {
                reason: error.reason,
                what: error.what,
            });
        }
        Fault::violation(error.reason, error.what)
    }

    /// The fault that the first byte of an incomplete packet already shows: the rest is not awaited.
    #[cold]
    pub(super) fn first_fault(&mut self, first: u8) -> Option<Fault> {
        if matches!(self.phase, Phase::Connected) && first >> 4 == CONNECT {
            return Some(second_connect());
        }

        let error = RawPacket::first_byte_fault(first, self.version, Side::Client)?;
        Some(self.decode_fault(&error, &[first]))
    }

    /// The fault of any text of a packet: control characters are malformed where
    /// the option says so (section 1.5.4).
    #[inline(always)]
    pub(super) fn text_fault(&self, packet: &Packet<'_>) -> Option<&'static str> {
        let strict = self.hub.config().strict.control_characters;
        (strict && packet.any_text(has_control)).then_some("control characters")
    }

    /// Bytes of the largest packet that is taken now.
    pub(super) fn largest_packet(&self) -> u32 {
        let limits = &self.hub.config().limits;
        match self.phase {
            Phase::Connected => limits.packet_bytes,
            _ => limits.packet_bytes.min(limits.connect_bytes),
        }
    }

    pub(super) fn decode_fault_raw(&mut self, error: &DecodeError, raw: RawPacket<'_>) -> Fault {
        let tls = matches!(self.phase, Phase::Fresh) && looks_like_tls(&raw);
        // Only CONNECT is answered before there is a session.
        let connect = raw.header >> 4 == CONNECT;
        if self.session.is_none() && matches!(self.phase, Phase::Fresh) && connect {
            self.refuse_connect_body(error, raw.body);
        }
        if self.session.is_some() {
            return Fault::violation(error.reason, error.what);
        }
        Fault::silent(DisconnectReason::ProtocolViolation {
            reason: error.reason,
            what: if tls { TLS } else { error.what },
        })
    }
}

const TLS: &str = "this looks like TLS, not MQTT";

/// Whether it is the start of a ClientHello: a record of type 22 and version 3.x. Taken as a packet,
/// it is a CONNECT with wrong flags and a remaining length of 3.
fn looks_like_tls(raw: &RawPacket<'_>) -> bool {
    raw.header == 0x16 && raw.len == 5 && raw.body.first().is_some_and(|minor| *minor <= 4)
}
