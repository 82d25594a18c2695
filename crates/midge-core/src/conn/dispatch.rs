//! Which packet is handled where.

use bytes::Bytes;
use midge_codec::{Disconnect, Packet, RawPacket, ReasonCode, Side};

use super::{Connection, Fault, Phase, Step, not_connect, second_connect};
use crate::hub::{Eligible, RunPublisher};
use crate::reason::DisconnectReason;
use crate::session::{AckKind, IdState, SessionGuard};
use crate::steps;

impl Connection {
    /// Handles packets at the start of `rest` that come in runs and need no decision: messages
    /// that leave as they came, acknowledgements. Their length in bytes and in packets.
    #[inline(never)] // else the compiler finds the loop around it too large for what is inlined here
    pub(super) fn take_run(
        &mut self,
        rest: &[u8],
        backing: Option<&Bytes>,
    ) -> Option<(usize, u64)> {
        let session = self
            .session
            .as_ref()
            .filter(|_| matches!(self.phase, Phase::Connected))?;

        match self.hub.fast_path.eligible(*rest.first()?)? {
            Eligible::Publish => {
                let publisher = RunPublisher {
                    session,
                    link: &self.link,
                    version: self.version,
                    routes: &self.routes,
                    receive_maximum: self.receive_maximum(),
                };
                self.hub
                    .forward_run(&publisher, rest, backing, &mut self.batch)
            }
            Eligible::Acknowledgement => {
                let session = session.guard_for(&self.link, &self.hub.env, &mut self.batch)?;
                let used = session.acknowledge_run(rest);
                (used > 0).then_some((used, used as u64 / 4))
            }
        }
    }

    pub(super) fn packet(&mut self, raw: RawPacket<'_>, backing: Option<&Bytes>) -> Step {
        let _section = steps::section(steps::Section::Packet);
        let limits = self.hub.env.config.decode_limits;
        let packet = match midge_codec::decode_within(raw, self.version, Side::Client, limits) {
            Ok(packet) => packet,
            Err(error) => return Err(self.decode_fault_raw(&error, raw)),
        };

        // A CONNECT has answers of its own.
        if let Some(what) = self.text_fault(&packet)
            && !matches!(packet, Packet::Connect(_))
        {
            return Err(Fault::violation(ReasonCode::MalformedPacket, what));
        }
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Connected => {
                self.phase = Phase::Connected;
                self.connected_packet(&packet, backing)
            }
            Phase::Fresh => match &packet {
                Packet::Connect(connect) => {
                    let fault = self.text_fault(&packet);
                    self.connect(connect, fault)
                }
                _ => Err(not_connect()),
            },
            Phase::Exchange(handshake) => self.exchange_packet(handshake, &packet),
            Phase::Closed => Ok(()),
        }
    }

    /// The session under its lock, if it is still this connection's.
    pub(super) fn locked(&mut self) -> Option<SessionGuard<'_>> {
        let session = self.session.as_ref()?;

        session.guard_for(&self.link, &self.hub.env, &mut self.batch)
    }

    fn connected_packet(&mut self, packet: &Packet<'_>, backing: Option<&Bytes>) -> Step {
        let Some(session) = self.session.clone() else {
            return Ok(());
        };

        match packet {
            Packet::Publish(publish) => self.publish(publish, backing),
            Packet::Puback(ack) => {
                let result = (self.locked()).map_or(Ok(()), |mut session| {
                    session.puback(ack.packet_id, ack.reason)
                });
                result.map_err(|error| Fault::violation(ReasonCode::ProtocolError, error.0))
            }
            Packet::Pubrec(ack) => self.pubrec(ack),
            Packet::Pubrel(ack) => {
                let (env, id) = (&self.hub.env, ack.packet_id);
                let reason = match session.release_qos2(&self.link, id, env, &mut self.batch) {
                    IdState::Known => ReasonCode::Success,
                    IdState::Unknown => ReasonCode::PacketIdentifierNotFound,
                    IdState::Detached => return Ok(()),
                };
                self.reply_ack(AckKind::Pubcomp, ack.packet_id, reason, None);
                Ok(())
            }

            Packet::Pubcomp(ack) => {
                let result =
                    (self.locked()).map_or(Ok(()), |mut session| session.pubcomp(ack.packet_id));
                result.map_err(|error| Fault::violation(ReasonCode::ProtocolError, error.0))
            }
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&session, unsubscribe),
            Packet::Pingreq => {
                let _ =
                    midge_codec::encode(&Packet::Pingresp, self.version, &mut self.batch.replies);
                self.batch.packet_sent();
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(disconnect),
            Packet::Auth(auth) => self.auth(auth),
            Packet::Connect(_) => Err(second_connect()),
            Packet::Connack(_) | Packet::Suback(_) | Packet::Unsuback(_) | Packet::Pingresp => Err(
                Fault::violation(ReasonCode::ProtocolError, "a packet that only servers send"),
            ),
        }
    }

    fn disconnect(&mut self, disconnect: &Disconnect<'_>) -> Step {
        if let Some(expiry) = disconnect.properties.session_expiry() {
            if self.connect_expiry_s == 0 && expiry != 0 {
                return Err(Fault::violation(
                    ReasonCode::ProtocolError,
                    "DISCONNECT gives a session an expiry that it did not have",
                ));
            }
            if let Some(session) = &self.session {
                self.hub.set_expiry(&self.link, session, expiry);
            }
        }
        Err(Fault::silent(DisconnectReason::ByClient(disconnect.reason)))
    }
}
