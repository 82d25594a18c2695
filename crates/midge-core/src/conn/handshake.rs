//! CONNECT: checks, authentication, authorization of the will, CONNACK.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{
    Connect, DecodeError, MessageProperties, Packet, QoS, ReasonCode, ReasonPacket, Version,
};

use super::connack::{encode_refusal, refusal_for_unreadable};
use super::intake::has_control;
use super::waiting::message_size;
use super::{Connection, Fault, Phase, Step, Then};
use crate::budget::Charge;
use crate::client::ClientInfo;
use crate::event::{Lost, Whom};
use crate::hooks::{
    Answer, AuthReply, ConnectRequest, FIRST, HookSet, Place, Refusal, Said, user_properties,
};
use crate::hub::{AttachPlan, Consequence, no_memory};
use crate::message::{MessageRef, OwnedMessage};
use crate::rate::Bucket;
use crate::reason::DisconnectReason;
use crate::session::AttachedSettings;
use crate::store::StoredWill;

/// A CONNECT on its way to CONNACK.
pub(super) struct Handshake {
    pub(super) request: ConnectRequest,
    pub(super) version: Version,
    pub(super) assigned: bool,
    pub(super) expiry_s: u32,
    pub(super) receive_maximum: u16,
    pub(super) maximum_packet: u32,
    pub(super) alias_maximum: u16,
    pub(super) problem_information: bool,
    pub(super) response_information: bool,
    pub(super) will_delay_s: u32,
    pub(super) method: Option<Arc<str>>,
    pub(super) data: Option<Bytes>,
    /// Authentication Data for CONNACK.
    pub(super) answer_data: Option<Bytes>,
    /// The place in the chain of hooks at which authentication goes on, or behind which set an exchange
    /// goes on, re-authentication included.
    pub(super) place: Place,
    /// The client has been asked for more.
    pub(super) is_exchange: bool,
    /// While the client is asked for more.
    pub(super) charge: Charge,
}

impl Handshake {
    /// Bytes that it keeps of what came in.
    pub(super) fn size(&self) -> usize {
        let request = &self.request;
        let texts = [request.client.username.as_ref(), self.method.as_ref()];
        let data = [request.password.as_ref(), self.data.as_ref()];
        let properties = request.user_properties.iter();
        size_of::<Self>()
            + request.client.client_id.len()
            + texts
                .into_iter()
                .flatten()
                .map(|text| text.len())
                .sum::<usize>()
            + data.into_iter().flatten().map(Bytes::len).sum::<usize>()
            + request.will.as_ref().map_or(0, message_size)
            + properties
                .map(|(name, value)| PAIR + name.len() + value.len())
                .sum::<usize>()
    }
}

/// Memory of a user property beyond its bytes.
const PAIR: usize = 2 * size_of::<(String, String)>() + 32;

impl Connection {
    /// A packet that could not even be split: only a length that is too large is answered.
    pub(super) fn refuse_malformed(&mut self, error: &DecodeError, bytes: &[u8]) {
        if bytes.first().is_some_and(|header| header >> 4 == 1)
            && error.reason == ReasonCode::PacketTooLarge
        {
            let skip = 1
                + bytes
                    .iter()
                    .skip(1)
                    .take(4)
                    .take_while(|b| **b & 0x80 != 0)
                    .count()
                + 1;
            self.refuse_connect_body(error, bytes.get(skip..).unwrap_or_default());
        }
    }

    /// A CONNECT that cannot be decoded is answered only where the specification has an answer.
    pub(super) fn refuse_connect_body(&mut self, error: &DecodeError, body: &[u8]) {
        if refusal_for_unreadable(error, body, &mut self.batch.replies) {
            self.batch.packet_sent();
        }
    }

    /// CONNECT, with what is wrong with any of its texts.
    pub(super) fn connect(
        &mut self,
        connect: &Connect<'_>,
        text_fault: Option<&'static str>,
    ) -> Step {
        self.version = connect.version;
        self.bridge = connect.bridge;

        let caller = Arc::new(ClientInfo {
            client_id: connect.client_id.into(),
            username: connect.username.map(Arc::from),
            peer: self.link.peer.clone(),
            listener: self.link.listener.clone(),
            version: connect.version,
            connection: self.link.number(),
        });

        // A refusal from now on names the client.
        self.link.set_caller(Some(caller.clone()));

        let config = self.hub.config();
        if !config.mqtt.versions.accept(connect.version) {
            return self.refuse(
                connect.version,
                Refusal::new(ReasonCode::UnsupportedProtocolVersion),
            );
        }

        if let Err(what) = self.check_client_id(connect) {
            let refusal = Refusal::new(ReasonCode::ClientIdentifierNotValid).text(what);
            return self.refuse(connect.version, refusal);
        }
        if let Some(what) = text_fault {
            let refusal = Refusal::new(ReasonCode::MalformedPacket).text(what);
            return self.refuse(connect.version, refusal);
        }
        if let Err(refusal) = self.check_will(connect) {
            return self.refuse(connect.version, refusal);
        }

        let properties = connect.properties;
        if properties.authentication_method().is_none()
            && properties.authentication_data().is_some()
        {
            let what = "Authentication Data without Authentication Method";
            return self.refuse(
                connect.version,
                Refusal::new(ReasonCode::ProtocolError).text(what),
            );
        }

        let client = match connect.client_id {
            "" => Arc::new(ClientInfo {
                client_id: self.hub.assign_client_id(),
                ..ClientInfo::clone(&caller)
            }),
            _ => caller,
        };

        let handshake = Box::new(self.handshake(connect, client));
        self.maximum_packet = handshake.maximum_packet;
        self.problem_information = handshake.problem_information;
        if handshake.method.is_some() {
            return self.start_exchange(handshake);
        }

        self.authenticate(handshake)
    }

    /// Asks the hooks for the client's identity; without hooks for that the client is believed.
    fn authenticate(&mut self, mut handshake: Box<Handshake>) -> Step {
        match (self.hub).authenticate(&handshake.request, handshake.place) {
            Said::Yes => self.authorize_will(handshake),
            Said::No(refusal) => self.refuse(handshake.version, refusal),
            Said::Later(deferred, place) => {
                handshake.place = place;
                self.wait(deferred, Then::Authenticated(handshake))
            }
        }
    }

    /// The objection to a client identifier (MQTT-3.1.3-5 to MQTT-3.1.3-9).
    fn check_client_id(&self, connect: &Connect<'_>) -> Result<(), &'static str> {
        let config = self.hub.config();
        let id = connect.client_id;
        if id.is_empty() {
            return match connect.version {
                version if version.is_v31() => Err("a 3.1 client needs a client identifier"),
                Version::V311 if !connect.clean_start => {
                    Err("an empty client identifier needs a clean session")
                }
                _ => Ok(()),
            };
        }

        if id.len() > config.limits.client_id_bytes {
            return Err("the client identifier is too long");
        }
        if connect.version.is_v31() && config.strict.v31_client_id && id.chars().count() > 23 {
            return Err("the client identifier is longer than 23 characters");
        }

        // Clients before 5.0 can be told of nothing else that is wrong with a text.
        if config.strict.control_characters && has_control(id) {
            return Err("control characters in the client identifier");
        }

        Ok(())
    }

    /// The objection to a will. One that is dropped alone does not keep its client out.
    fn check_will(&self, connect: &Connect<'_>) -> Result<(), Refusal> {
        let Some(will) = &connect.will else {
            return Ok(());
        };

        let topic_fault = |what| Refusal::new(ReasonCode::TopicNameInvalid).text(what);
        self.hub.check_topic(will.topic).map_err(topic_fault)?;

        let objection = self.hub.will_objection(&MessageRef {
            topic: will.topic,
            payload: will.payload,
            backing: None,
            qos: will.qos,
            retain: will.retain,
            expiry: None,
            properties: MessageProperties::new(will.properties),
        });

        match objection {
            Some(objection) if matches!(objection.answer, Consequence::Drop(_)) => Ok(()),
            Some(objection) => Err(Refusal::new(objection.reason).text(objection.what)),
            None => Ok(()),
        }
    }

    fn handshake(&self, connect: &Connect<'_>, client: Arc<ClientInfo>) -> Handshake {
        let properties = connect.properties;
        let config = self.hub.config();
        let v5 = connect.version == Version::V5;
        let asked = match (v5, connect.clean_start) {
            (true, _) => properties.session_expiry().unwrap_or(0),
            (false, true) => 0,
            (false, false) => u32::MAX,
        };

        let mut will_delay_s = 0;
        let will = connect.will.as_ref().map(|will| {
            let properties = MessageProperties::new(will.properties);
            will_delay_s = properties.will_delay.unwrap_or(0);
            OwnedMessage::from(&MessageRef {
                topic: will.topic,
                payload: will.payload,
                backing: None,
                qos: will.qos,
                retain: will.retain,
                expiry: properties.message_expiry,
                properties,
            })
        });

        Handshake {
            request: ConnectRequest {
                client,
                password: connect.password.map(Bytes::copy_from_slice),
                clean_start: connect.clean_start,
                keep_alive: connect.keep_alive,
                will,
                user_properties: match self.hub.hooks.intersects(HookSet::AUTHENTICATE) {
                    true => user_properties(properties),
                    false => Vec::new(),
                },
            },

            version: connect.version,
            assigned: connect.client_id.is_empty(),
            expiry_s: asked,
            receive_maximum: properties.receive_maximum().unwrap_or(u16::MAX),
            maximum_packet: properties.maximum_packet_size().unwrap_or(u32::MAX),
            alias_maximum: properties
                .topic_alias_maximum()
                .unwrap_or(0)
                .min(config.mqtt.topic_alias_outbound),
            problem_information: properties.request_problem_information().unwrap_or(1) == 1,
            response_information: properties.request_response_information().unwrap_or(0) == 1,
            will_delay_s,
            method: properties.authentication_method().map(Arc::from),
            data: properties.authentication_data().map(Bytes::copy_from_slice),
            answer_data: None,
            place: FIRST,
            is_exchange: false,
            charge: Charge::NONE,
        }
    }

    /// The set of hooks that was asked last has answered.
    pub(super) fn authenticated(&mut self, mut handshake: Box<Handshake>, answer: Answer) -> Step {
        match answer {
            Answer::Allow => self.authorize_will(handshake),
            Answer::Pass => self.authenticate(handshake),
            Answer::Deny(refusal) => self.refuse(handshake.version, refusal),
            Answer::Auth(AuthReply::Accept(data)) => {
                handshake.answer_data = data;
                self.authorize_will(handshake)
            }
            Answer::Auth(_) => {
                self.refuse(handshake.version, Refusal::new(ReasonCode::NotAuthorized))
            }
        }
    }

    /// Whether the client may publish its will is settled before it is taken in.
    pub(super) fn authorize_will(&mut self, mut handshake: Box<Handshake>) -> Step {
        self.drop_will(&mut handshake);
        self.authorize_will_from(handshake, FIRST)
    }

    fn authorize_will_from(&mut self, handshake: Box<Handshake>, place: Place) -> Step {
        let request = &handshake.request;
        let Some(will) = &request.will else {
            return self.accept(handshake);
        };
        match (self.hub).authorize_publish(&request.client, &will.parts(), place) {
            Said::Yes => self.accept(handshake),
            Said::No(refusal) => self.refuse(handshake.version, refusal),
            Said::Later(deferred, place) => {
                self.wait(deferred, Then::WillAuthorized(handshake, place))
            }
        }
    }

    /// One set of hooks has answered: the others behind it, from `place` on, are asked.
    pub(super) fn will_authorized(
        &mut self,
        handshake: Box<Handshake>,
        place: Place,
        answer: Answer,
    ) -> Step {
        match answer.objection() {
            Some(refusal) => self.refuse(handshake.version, refusal),
            None => self.authorize_will_from(handshake, place),
        }
    }

    /// Drops a will that is never published, under its name.
    fn drop_will(&mut self, handshake: &mut Handshake) {
        let request = &mut handshake.request;
        let Some(will) = &request.will else { return };
        let Some(objection) = self.hub.will_objection(&will.parts()) else {
            return;
        };
        let whom = Whom {
            client_id: Some(&request.client.client_id),
            ..self.link.whom(None)
        };
        let reason = objection.drop_reason();
        let lost = Lost::untaken(&will.topic);
        self.batch.report_drop(&self.hub.env, whom, lost, reason);
        request.will = None;
    }

    fn accept(&mut self, handshake: Box<Handshake>) -> Step {
        let config = self.hub.config();
        let cap = config.limits.session_expiry_s;

        // Before 5.0 "never" is all a client can ask for, and the cap cannot be told.
        let expiry_s = handshake.expiry_s.min(cap);

        // Enforced for 3.1.1 and 3.1, too, although CONNACK cannot announce it there.
        let keep_alive = match config.limits.keep_alive_s {
            cap @ 1.. if !(1..=cap).contains(&handshake.request.keep_alive) => cap,
            _ => handshake.request.keep_alive,
        };

        let window = handshake.receive_maximum.min(config.limits.inflight).max(1);
        let settings = AttachedSettings {
            version: handshake.version,
            maximum_packet: handshake.maximum_packet,
            window,
            alias_maximum: handshake.alias_maximum,
        };

        let Handshake {
            request,
            will_delay_s,
            ..
        } = &*handshake;
        let plan = AttachPlan {
            info: request.client.clone(),
            clean_start: request.clean_start,
            expiry_s,
            settings,
            will: request.will.clone().map(|message| StoredWill {
                message,
                delay_s: *will_delay_s,
            }),
        };

        let may_be_too_large = handshake.maximum_packet != u32::MAX;
        let mut probe = Vec::new();
        if may_be_too_large
            && !super::connack::encode_success(
                config, &handshake, true, expiry_s, keep_alive, &mut probe,
            )
        {
            let refusal = Refusal::new(ReasonCode::PacketTooLarge);
            return self.refuse(handshake.version, refusal);
        }

        let connack = |present: bool, out: &mut Vec<u8>| {
            // It fits: only the flag can differ.
            let _ = super::connack::encode_success(
                config, &handshake, present, expiry_s, keep_alive, out,
            );
        };

        let method = handshake.method.as_ref().map_or(0, |method| method.len());
        if !self.hub.recharge_link(&self.link, 0, method) {
            return self.refuse(handshake.version, no_memory());
        }

        let attached = self.hub.attach(&self.link, plan, connack, &mut self.batch);
        let session = match attached {
            Ok(session) => session,
            Err(Some(refusal)) => return self.refuse(handshake.version, refusal),
            Err(None) => return Ok(()),
        };

        self.session = Some(session);
        self.connect_expiry_s = handshake.expiry_s;

        let rate = config.limits.publish_rate;
        self.publish_bucket = (rate > 0).then(|| Box::new(Bucket::new(rate, self.batch.now())));
        self.silence_ms = u64::from(keep_alive) * 1500; // MQTT-3.1.2-22
        if let Some(method) = handshake.method.clone() {
            self.remember_method(method, handshake.place);
        }

        self.info = Some(handshake.request.client).filter(|info| self.hub.is_worth_keeping(info));
        self.phase = Phase::Connected;
        self.link.received(self.batch.now());
        self.link.set_silence(self.silence_ms);
        self.hub.watch(&self.link);
        Ok(())
    }

    /// Refuses CONNECT: CONNACK with a reason where there is one, and the end.
    pub(super) fn refuse(&mut self, version: Version, mut refusal: Refusal) -> Step {
        let caller = self.link.caller();
        let whom = Whom {
            client_id: caller.as_ref().map(|caller| &caller.client_id),
            ..self.link.whom(None)
        };

        // MQTT-3.2.2-8
        refusal.reason =
            (self.batch).carried(whom, (ReasonPacket::Connack, version), refusal.reason);
        if encode_refusal(
            version,
            &refusal,
            self.maximum_packet,
            &mut self.batch.replies,
        ) {
            self.batch.packet_sent();
        }

        Err(Fault {
            reason: DisconnectReason::Refused(refusal.reason),
            refusal: Some(refusal),
        })
    }

    pub(super) fn exchange_packet(
        &mut self,
        handshake: Box<Handshake>,
        packet: &Packet<'_>,
    ) -> Step {
        match packet {
            Packet::Auth(auth) => self.exchange_auth(handshake, auth),
            Packet::Disconnect(disconnect) => {
                Err(Fault::silent(DisconnectReason::ByClient(disconnect.reason)))
            }
            // MQTT-3.1.2-30
            _ => self.refuse(
                handshake.version,
                Refusal::new(ReasonCode::ProtocolError).text("only AUTH may come before CONNACK"),
            ),
        }
    }
}

/// The QoS that a subscription gets.
pub(super) fn granted(asked: QoS, maximum: QoS) -> QoS {
    asked.min(maximum)
}
