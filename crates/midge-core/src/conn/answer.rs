//! Acknowledgements of the broker.

use std::sync::Arc;

use midge_codec::{Ack, Packet, PropertiesBuf, Property, ReasonCode, Version};

use super::{Connection, Fault, Step};
use crate::session::{AckKind, Received, Session, encode_ack};

impl Connection {
    pub(super) fn pubrec(&mut self, session: &Arc<Session>, ack: &Ack<'_>) -> Step {
        let (env, batch) = (&self.hub.env, &mut self.batch);
        match session.pubrec(&self.link, ack.packet_id, ack.reason, env, batch) {
            Ok(Received::Detached) => {}
            Ok(Received::Known) if ack.reason.is_error() => {}
            Ok(Received::Known) => {
                self.reply_ack(AckKind::Pubrel, ack.packet_id, ReasonCode::Success, None);
            }
            Ok(Received::Unknown) if ack.reason.is_error() => {}
            Ok(Received::Unknown) => {
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

/// The properties of a packet with a Reason String, if there is one to give.
pub(super) fn reason_string(text: Option<&str>) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if let Some(text) = text {
        let _ = properties.push(Property::ReasonString(text));
    }
    properties
}
