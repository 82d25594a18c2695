//! PUBLISH from a client: aliases, limits, duplicates, authorization, routing, acknowledgement.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, Publish, QoS, ReasonCode, ReasonPacket, Version};

use super::waiting::message_size;
use super::{Connection, Fault, Step, Then};
use crate::event::Lost;
use crate::hooks::{Answer, FIRST, HookSet, Place, Refusal, Said};
use crate::hub::{ClientPublisher, Consequence, Publisher, Unpublished, no_memory};
use crate::message::{MessageRef, OwnedMessage};
use crate::reason::DropReason;
use crate::session::{AckKind, IdState};

/// Memory of a topic alias beyond its topic name.
const ALIAS: usize = 96;

/// A PUBLISH whose authorization is awaited.
pub(super) struct HeldPublish {
    message: OwnedMessage,
    packet_id: u16,
    /// Where asking goes on.
    place: Place,
}

impl HeldPublish {
    pub(super) fn size(&self) -> usize {
        message_size(&self.message)
    }
}

impl Connection {
    pub(super) fn publish(&mut self, publish: &Publish<'_>, backing: Option<&Bytes>) -> Step {
        self.batch.local.publish_received += 1;
        self.batch.local.publish_bytes_received += publish.payload.len() as u64;
        if let Some(bucket) = &mut self.publish_bucket
            && !bucket.take(self.batch.now())
        {
            let whom = self.link.whom(self.session.as_ref());
            let (lost, reason) = (Lost::untaken(publish.topic), DropReason::RateExceeded);
            self.batch.report_drop(&self.hub.env, whom, lost, reason);
            return Err(Fault::violation(
                ReasonCode::MessageRateTooHigh,
                "more messages a second than limits.publish_rate",
            ));
        }

        let properties = if publish.properties.is_empty() {
            MessageProperties::default()
        } else {
            MessageProperties::new(publish.properties)
        };

        let aliased;
        let topic = match properties.topic_alias {
            Some(alias) => {
                aliased = self.resolve_alias(alias, publish.topic)?;
                &*aliased
            }
            None if publish.topic.is_empty() => {
                return Err(Fault::violation(
                    ReasonCode::ProtocolError,
                    "an empty topic name without topic alias",
                ));
            }
            None => publish.topic,
        };

        let message = MessageRef {
            topic,
            payload: publish.payload,
            backing,
            qos: publish.qos,
            retain: publish.retain,
            expiry: properties.message_expiry,
            properties,
        };

        let objection = self.hub.objection(&message);
        if let Some(objection) = objection.filter(|o| o.answer == Consequence::End) {
            return Err(Fault::violation(objection.reason, objection.what));
        }

        if publish.qos == QoS::ExactlyOnce {
            match self.check_qos2(publish.packet_id)? {
                IdState::Unknown => {}
                // A repetition is acknowledged again and not delivered (MQTT-4.3.3-10).
                IdState::Known => {
                    let kind = AckKind::Pubrec;
                    self.reply_ack(kind, publish.packet_id, ReasonCode::Success, None);
                    return Ok(());
                }
                IdState::Detached => return Ok(()),
            }
        }

        if let Some(objection) = objection {
            let refusal = Refusal::new(objection.reason).text(objection.what);
            let reason = objection.drop_reason();
            self.drop_refused(&message, publish.packet_id, reason, &refusal);
            return Ok(());
        }

        if !self.hub.hooks.intersects(HookSet::AUTHORIZE_PUBLISH) {
            self.route(&message, publish.packet_id);
            return Ok(());
        }

        let Some(client) = &self.info else {
            return Ok(());
        };

        match self.hub.authorize_publish(client, &message, FIRST) {
            Said::Yes => self.route(&message, publish.packet_id),
            Said::No(refusal) => self.refused(&message, publish.packet_id, &refusal),
            Said::Later(deferred, place) => {
                let held = HeldPublish {
                    message: (&message).into(),
                    packet_id: publish.packet_id,
                    place,
                };
                return self.wait(deferred, Then::Publish(Box::new(held)));
            }
        }

        Ok(())
    }

    /// One set of hooks has answered: the others behind it are asked.
    pub(super) fn publish_held(&mut self, mut held: Box<HeldPublish>, answer: Answer) -> Step {
        let Some(client) = &self.info else {
            return Ok(());
        };

        let (message, packet_id) = (held.message.parts(), held.packet_id);
        let said = match answer.objection() {
            Some(refusal) => Said::No(refusal),
            None => self.hub.authorize_publish(client, &message, held.place),
        };

        match said {
            Said::Yes => self.route(&message, packet_id),
            Said::No(refusal) => self.refused(&message, packet_id, &refusal),
            Said::Later(deferred, place) => {
                held.place = place;
                return self.wait(deferred, Then::Publish(held));
            }
        }

        Ok(())
    }

    /// A message that cannot be kept while a hook thinks about it.
    pub(super) fn publish_forgotten(&mut self, held: &HeldPublish) {
        let whom = self.link.whom(self.session.as_ref());
        let (lost, reason) = (Lost::untaken(&held.message.topic), DropReason::MemoryFull);
        self.batch.report_drop(&self.hub.env, whom, lost, reason);
        self.acknowledge_refusal(held.message.qos, held.packet_id, &no_memory());
    }

    /// The topic name that an alias stands for, after setting it if a topic name came with it
    /// (section 3.3.2.3.4).
    fn resolve_alias(&mut self, alias: u16, topic: &str) -> Result<Arc<str>, Fault> {
        if alias == 0 || alias > self.hub.config().mqtt.topic_alias_maximum {
            return Err(Fault::violation(
                ReasonCode::TopicAliasInvalid,
                "a topic alias above Topic Alias Maximum",
            ));
        }

        if !topic.is_empty() {
            let topic: Arc<str> = topic.into();
            let aliases = self.aliases.get_or_insert_default();
            let known = aliases.insert(alias, topic.clone());
            let before = known.map_or(0, |known| ALIAS + known.len());
            if !(self.hub).recharge_link(&self.link, before, ALIAS + topic.len()) {
                return Err(Fault::violation(
                    ReasonCode::QuotaExceeded,
                    "no memory for another topic alias",
                ));
            }
            return Ok(topic);
        }

        self.aliases
            .as_ref()
            .and_then(|aliases| aliases.get(&alias))
            .cloned()
            .ok_or_else(|| {
                Fault::violation(
                    ReasonCode::ProtocolError,
                    "a topic alias that stands for nothing",
                )
            })
    }

    /// Whether a QoS 2 message is new.
    fn check_qos2(&mut self, packet_id: u16) -> Result<IdState, Fault> {
        let maximum = self.receive_maximum();
        let Some(session) = &self.session else {
            return Ok(IdState::Detached);
        };

        let work = (&self.hub.env, &mut **self.batch);
        let checked = session.check_qos2(&self.link, packet_id, maximum, work);
        checked.map_err(|reason| {
            let what =
                "more QoS 2 messages in flight than Receive Maximum, or than there is memory for";
            Fault::violation(reason, what)
        })
    }

    /// QoS 2 messages that the client may have in flight.
    pub(super) fn receive_maximum(&self) -> u16 {
        let config = self.hub.config();
        if config.lenient.receive_maximum || self.version != Version::V5 {
            u16::MAX
        } else {
            config.limits.receive_maximum.max(1)
        }
    }

    fn route(&mut self, message: &MessageRef<'_>, packet_id: u16) {
        let Some(session) = &self.session else { return };
        let publisher = Publisher::Client(ClientPublisher {
            session,
            link: &self.link,
            packet_id: (message.qos == QoS::ExactlyOnce).then_some(packet_id),
        });

        let result = self.hub.publish(
            &publisher,
            message,
            Some(&mut self.routes),
            None,
            &mut self.batch,
        );

        match result {
            Ok(matched) => {
                let reason = if matched == 0 {
                    ReasonCode::NoMatchingSubscribers
                } else {
                    ReasonCode::Success
                };
                self.acknowledge(message.qos, packet_id, reason, None);
            }
            Err(Unpublished::Refused(refusal)) => {
                self.acknowledge_refusal(message.qos, packet_id, &refusal);
            }
            Err(Unpublished::Detached) => {}
        }
    }

    /// A message that a hook does not let the client publish.
    fn refused(&mut self, message: &MessageRef<'_>, packet_id: u16, refusal: &Refusal) {
        self.drop_refused(message, packet_id, DropReason::NotAuthorized, refusal);
    }

    /// A message that the client may not publish: counted, told, answered.
    fn drop_refused(
        &mut self,
        message: &MessageRef<'_>,
        packet_id: u16,
        reason: DropReason,
        refusal: &Refusal,
    ) {
        let whom = self.link.whom(self.session.as_ref());
        let lost = Lost::untaken(message.topic);
        self.batch.report_drop(&self.hub.env, whom, lost, reason);
        self.acknowledge_refusal(message.qos, packet_id, refusal);
    }

    fn acknowledge_refusal(&mut self, qos: QoS, packet_id: u16, refusal: &Refusal) {
        let packet = match qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => ReasonPacket::Puback, // MQTT-3.4.2-1
            QoS::ExactlyOnce => ReasonPacket::Pubrec, // MQTT-3.5.2-1
        };
        // In 5.0 the identifier stays free (MQTT-4.3.3-9). Earlier versions cannot be told of the
        // refusal: the flow goes on as if the message had been published.
        if qos == QoS::ExactlyOnce
            && self.version != Version::V5
            && let Some(session) = &self.session
            && session.open_qos2(&self.link, packet_id, &self.hub.env, &mut self.batch)
                == IdState::Detached
        {
            return;
        }

        let whom = self.link.whom(self.session.as_ref());
        let packet = (packet, self.version);
        let reason = self.batch.carried(whom, packet, refusal.reason);
        self.acknowledge(qos, packet_id, reason, refusal.text.as_deref());
    }

    fn acknowledge(&mut self, qos: QoS, packet_id: u16, reason: ReasonCode, text: Option<&str>) {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.reply_ack(AckKind::Puback, packet_id, reason, text),
            QoS::ExactlyOnce => self.reply_ack(AckKind::Pubrec, packet_id, reason, text),
        }
    }
}
