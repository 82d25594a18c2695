//! Acknowledgements: of what was sent to the client, and of its own QoS 2 messages.

use midge_codec::{Ack, Packet, Properties, QoS, ReasonCode, Version};

use super::{Effects, Env, Inflight, Link, NoMemory, Session, SessionGuard, Stage};
use crate::event::{Event, EventMask};
use crate::message::SharedMessage;
use crate::reason::DropReason;
use crate::store::Op;

/// An acknowledgement that does not belong to the state of its packet identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowError(pub(crate) &'static str);

/// The state of the packet identifier of a PUBLISH or PUBREC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdState {
    /// Known: go on with the flow.
    Known,
    /// Not known.
    Unknown,
    /// The session belongs to another connection by now: nothing has changed, and there is no
    /// answer.
    Detached,
}

impl SessionGuard<'_> {
    /// PUBACK from the client. Unknown identifiers are ignored.
    pub(crate) fn puback(&mut self, packet_id: u16, reason: ReasonCode) -> Result<(), FlowError> {
        match self.state.inflight.get(packet_id) {
            Some(entry) if entry.delivery.qos == QoS::ExactlyOnce => {
                Err(FlowError("PUBACK for a QoS 2 message"))
            }
            Some(_) => {
                self.finish_flow(packet_id, reason);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// PUBREC from the client (MQTT-4.3.3-4): whether PUBREL is to follow with success.
    pub(crate) fn pubrec(
        &mut self,
        packet_id: u16,
        reason: ReasonCode,
    ) -> Result<IdState, FlowError> {
        match self.state.inflight.get_mut(packet_id) {
            Some(entry) if entry.delivery.qos != QoS::ExactlyOnce => {
                Err(FlowError("PUBREC for a QoS 1 message"))
            }
            Some(_) if reason.is_error() => {
                // MQTT-4.4.0-2: the message is done, no PUBREL.
                self.finish_flow(packet_id, reason);
                Ok(IdState::Known)
            }
            Some(entry) => {
                let first = entry.stage == Stage::Published;
                entry.stage = Stage::Released;
                let message_id = entry.delivery.message.id();

                if first {
                    self.state.record(self.env, |client_id| Op::Released {
                        client_id,
                        message_id,
                        packet_id,
                    });
                }

                self.effects.wait_for(self.state.last_recorded());
                Ok(IdState::Known)
            }
            None => {
                self.effects.wait_for(self.state.last_recorded());
                Ok(IdState::Unknown)
            }
        }
    }

    /// PUBCOMP from the client.
    pub(crate) fn pubcomp(&mut self, packet_id: u16) -> Result<(), FlowError> {
        match self.state.inflight.get(packet_id) {
            Some(entry) if entry.stage == Stage::Published => {
                Err(FlowError("PUBCOMP without PUBREC"))
            }
            Some(_) => {
                self.finish_flow(packet_id, ReasonCode::Success);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn window_back(&mut self, entry: &Inflight) {
        let state = &mut *self.state;
        if let (true, Some(attached)) = (entry.counted, state.attached.as_deref_mut()) {
            attached.in_window = attached.in_window.saturating_sub(1);
        }
        self.effects.moves_up |= state.has_more();
    }

    /// Ends a flow that went as it should; what the message had been charged.
    pub(super) fn complete_flow(&mut self, packet_id: u16) -> usize {
        let Some(entry) = self.state.inflight.remove(packet_id) else {
            return 0;
        };

        self.window_back(&entry);
        let (cost, share) = (entry.delivery.cost(), entry.delivery.share());
        let message = entry.delivery.message;
        self.state.queued_bytes = self.state.queued_bytes.saturating_sub(cost);
        if let Some(tracker) = message.tracker() {
            tracker.closed();
        }
        if self.effects.wants(EventMask::ACKNOWLEDGED) {
            self.report_acknowledged(message);
        }
        share
    }

    /// Ends a flow in general.
    fn finish_flow(&mut self, packet_id: u16, reason: ReasonCode) {
        let Some(entry) = self.state.inflight.remove(packet_id) else {
            return;
        };

        self.window_back(&entry);
        self.state.end_accounting(&entry.delivery, self.env);
        if reason.is_error() {
            self.report_dropped(&entry.delivery, DropReason::RefusedByReceiver);
        } else if self.effects.wants(EventMask::ACKNOWLEDGED) {
            self.report_acknowledged(entry.delivery.message);
        }
    }

    #[cold]
    fn report_acknowledged(&mut self, message: SharedMessage) {
        // Acknowledgements come from the present connection only.
        let connection = self.state.attached.as_ref();
        self.effects.event(Event::Acknowledged {
            client_id: self.session.client_id.clone(),
            message,
            connection: connection.map_or(0, |attached| attached.link.number()),
            session: self.session.number,
        });
    }
}

impl Session {
    /// A QoS 2 PUBLISH has come: whether its identifier is in use, and so the message a repetition
    /// (MQTT-4.3.3-10). Nothing changes: the identifier is in use once the message has been decided,
    /// see [`Session::open_qos2`]. The reason code if as many as `maximum` are open already, or as
    /// many as there is memory for.
    pub(crate) fn check_qos2(
        &self,
        link: &Link,
        packet_id: u16,
        maximum: u16,
        (env, effects): (&Env, &mut Effects),
    ) -> Result<IdState, ReasonCode> {
        let Some(mut state) = self.lock_for(link) else {
            return Ok(IdState::Detached);
        };
        if state.inbound.contains(packet_id) {
            // What came first may not be committed yet.
            effects.wait_for(state.last_recorded());
            return Ok(IdState::Known);
        }

        if state.inbound.len() >= usize::from(maximum) {
            return Err(ReasonCode::ReceiveMaximumExceeded); // MQTT-3.3.4-7
        }
        match state.inbound.make_room(&env.budget) {
            Ok(()) => Ok(IdState::Unknown),
            Err(NoMemory) => Err(ReasonCode::QuotaExceeded),
        }
    }

    /// A QoS 2 message of the client has been decided: from now on a repetition is known. In one
    /// step with routing it, because whatever is known is not routed again.
    pub(crate) fn open_qos2(
        &self,
        link: &Link,
        packet_id: u16,
        env: &Env,
        effects: &mut Effects,
    ) -> IdState {
        let Some(mut state) = self.lock_for(link) else {
            return IdState::Detached;
        };
        // There is room: it was made when the message came.
        if !state.inbound.insert_anyway(packet_id) {
            return IdState::Known;
        }

        effects.wait_for(state.record(env, |client_id| Op::Opened {
            client_id,
            packet_id,
        }));
        IdState::Unknown
    }

    /// PUBREL from the client: the identifier is free again.
    pub(crate) fn release_qos2(
        &self,
        link: &Link,
        packet_id: u16,
        env: &Env,
        effects: &mut Effects,
    ) -> IdState {
        let Some(mut state) = self.lock_for(link) else {
            return IdState::Detached;
        };
        if !state.inbound.remove(packet_id) {
            effects.wait_for(state.last_recorded());
            return IdState::Unknown;
        }

        state.inbound.tidy();
        effects.wait_for(state.record(env, |client_id| Op::Closed {
            client_id,
            packet_id,
        }));
        IdState::Known
    }
}

/// The four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

impl AckKind {
    pub(crate) fn packet(self, ack: Ack<'_>) -> Packet<'_> {
        match self {
            Self::Puback => Packet::Puback(ack),
            Self::Pubrec => Packet::Pubrec(ack),
            Self::Pubrel => Packet::Pubrel(ack),
            Self::Pubcomp => Packet::Pubcomp(ack),
        }
    }
}

/// Encodes an acknowledgement without properties.
pub(crate) fn encode_ack(
    kind: AckKind,
    packet_id: u16,
    reason: ReasonCode,
    version: Version,
    out: &mut Vec<u8>,
) {
    let ack = Ack {
        packet_id,
        reason,
        properties: Properties::EMPTY,
    };
    // Without properties it always fits.
    let _ = midge_codec::encode(&kind.packet(ack), version, out);
}
