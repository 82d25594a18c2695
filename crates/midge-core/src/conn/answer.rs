//! Acknowledgements of the broker.

use midge_codec::{Ack, Packet, PropertiesBuf, Property, ReasonCode, Version};

use super::{Connection, Fault, Step};
use crate::session::{AckKind, IdState, encode_ack};

impl Connection {
    pub(super) fn pubrec(&mut self, ack: &Ack<'_>) -> Step {
        let Some(mut session) = self.locked() else {
            return Ok(());
        };
        let known = session.pubrec(ack.packet_id, ack.reason);
        drop(session);

        match known {
            Ok(IdState::Detached) => {}
            Ok(IdState::Known) if ack.reason.is_error() => {}
            Ok(IdState::Known) => {
                self.reply_ack(AckKind::Pubrel, ack.packet_id, ReasonCode::Success, None);
            }
            Ok(IdState::Unknown) if ack.reason.is_error() => {}
            Ok(IdState::Unknown) => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.reply_ack(AckKind::Pubrel, ack.packet_id, reason, None);
            }
            Err(error) => return Err(Fault::violation(ReasonCode::ProtocolError, error.0)),
        }
        Ok(())
    }

    /// Answers with an acknowledgement, explained as far as the client wants and takes it.
    pub(super) fn reply_ack(
        &mut self,
        kind: AckKind,
        packet_id: u16,
        reason: ReasonCode,
        text: Option<&str>,
    ) {
        self.batch.packet_sent();
        if let Some(text) = text.filter(|_| self.version == Version::V5 && self.problem_information)
        {
            let mut properties = PropertiesBuf::new();
            if properties.push(Property::ReasonString(text)).is_ok() {
                let ack = Ack {
                    packet_id,
                    reason,
                    properties: properties.as_properties(),
                };
                if self.fits(&kind.packet(ack)) {
                    let _ = midge_codec::encode(
                        &kind.packet(ack),
                        self.version,
                        &mut self.batch.replies,
                    );
                    return;
                }
            }
        }

        // Before 5.0 there is no way to say no.
        let reason = if self.version == Version::V5 {
            reason
        } else {
            ReasonCode::Success
        };

        encode_ack(
            kind,
            packet_id,
            reason,
            self.version,
            &mut self.batch.replies,
        );
    }

    pub(super) fn fits(&self, packet: &Packet<'_>) -> bool {
        midge_codec::encoded_len(packet, self.version)
            .is_ok_and(|len| len <= self.maximum_packet as usize)
    }
}

/// Appends a packet, unless it is longer than the client's Maximum Packet Size: whether it fits.
pub(super) fn encode_within(
    packet: &Packet<'_>,
    (version, maximum): (Version, u32),
    out: &mut Vec<u8>,
) -> bool {
    let before = out.len();
    let is_encoded = midge_codec::encode(packet, version, out).is_ok();
    let fits = is_encoded && out.len() - before <= maximum as usize;
    if !fits {
        out.truncate(before);
    }
    fits
}

/// The properties of a packet with a Reason String, if there is one to give.
pub(super) fn reason_string(text: Option<&str>) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if let Some(text) = text {
        let _ = properties.push(Property::ReasonString(text));
    }
    properties
}
