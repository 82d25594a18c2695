//! Enhanced authentication (section 4.12): the exchange before CONNACK, and re-authentication.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{Auth, Packet, PropertiesBuf, Property, ReasonCode, ReasonPacket, Version};

use super::handshake::Handshake;
use super::{Connection, Fault, Phase, Step, Then};
use crate::client::ClientInfo;
use crate::hooks::{Answer, AuthReply, AuthStep, EnhancedVerdict, Place, Refusal};
use crate::hub::no_memory;
use crate::reason::DisconnectReason;

/// The authentication method of a connected client, and whether an exchange is going on.
pub(super) struct ReAuthentication {
    method: Arc<str>,
    /// Behind the set of hooks that knows the method.
    place: Place,
    ongoing: bool,
}

fn step(
    client: &Arc<ClientInfo>,
    method: &Arc<str>,
    data: Option<Bytes>,
    first: bool,
    again: bool,
) -> AuthStep {
    AuthStep {
        client: client.clone(),
        method: method.clone(),
        data,
        first,
        re_authentication: again,
    }
}

/// No set of hooks knows the method.
fn unknown_method() -> Refusal {
    Refusal::new(ReasonCode::BadAuthenticationMethod)
}

impl Connection {
    pub(super) fn remember_method(&mut self, method: Arc<str>, place: Place) {
        self.re_authentication = Some(Box::new(ReAuthentication {
            method,
            place,
            ongoing: false,
        }));
    }

    /// Looks for the set of hooks that knows the method, from the handshake's place on.
    pub(super) fn start_exchange(&mut self, mut handshake: Box<Handshake>) -> Step {
        let Some(method) = handshake.method.clone() else {
            return Ok(());
        };

        let (client, data) = (&handshake.request.client, handshake.data.clone());
        let step = step(client, &method, data, true, false);
        match self.hub.start_exchange(&step, handshake.place) {
            Some((verdict, place)) => {
                handshake.place = place;
                self.enhanced_verdict(handshake, verdict)
            }
            // MQTT-4.12.0-1
            None => self.refuse(handshake.version, unknown_method()),
        }
    }

    /// Asks the set of hooks that has begun the exchange.
    fn continue_exchange(&mut self, handshake: Box<Handshake>, data: Option<Bytes>) -> Step {
        let Some(method) = handshake.method.clone() else {
            return Ok(());
        };

        let step = step(&handshake.request.client, &method, data, false, false);
        let verdict = self.hub.continue_exchange(&step, handshake.place);
        self.enhanced_verdict(handshake, verdict)
    }

    fn enhanced_verdict(&mut self, handshake: Box<Handshake>, verdict: EnhancedVerdict) -> Step {
        match verdict {
            EnhancedVerdict::Now(reply) => self.enhanced_answer(handshake, Answer::Auth(reply)),
            EnhancedVerdict::Pass => self.enhanced_answer(handshake, Answer::Pass),
            EnhancedVerdict::Defer(deferred) => {
                self.wait(deferred, Then::EnhancedAnswer(handshake))
            }
        }
    }

    pub(super) fn enhanced_answer(
        &mut self,
        mut handshake: Box<Handshake>,
        answer: Answer,
    ) -> Step {
        match answer {
            Answer::Auth(AuthReply::Continue(data)) => {
                let Some(method) = handshake.method.clone() else {
                    return Ok(());
                };
                let reason = ReasonCode::ContinueAuthentication;

                if !self.send_auth(reason, &method, data.as_deref()) {
                    let refusal = Refusal::new(ReasonCode::PacketTooLarge);
                    return self.refuse(handshake.version, refusal);
                }

                // The data is not needed any more: each step brings its own.
                handshake.data = None;
                handshake.is_exchange = true;

                let size = handshake.size();

                match self.hub.try_hold_input(size) {
                    Some(charge) => handshake.charge = charge,
                    None => return self.refuse(handshake.version, no_memory()),
                }

                self.phase = Phase::Exchange(handshake);
                Ok(())
            }
            Answer::Auth(AuthReply::Accept(data)) => {
                handshake.answer_data = data;
                self.authorize_will(handshake)
            }
            Answer::Auth(AuthReply::Refuse(refusal)) | Answer::Deny(refusal) => {
                self.refuse(handshake.version, refusal)
            }
            Answer::Allow => self.authorize_will(handshake),
            Answer::Pass if handshake.is_exchange => {
                self.refuse(handshake.version, unknown_method())
            }
            Answer::Pass => self.start_exchange(handshake),
        }
    }

    /// AUTH of the client before CONNACK (MQTT-4.12.0-3, MQTT-4.12.0-5).
    pub(super) fn exchange_auth(&mut self, handshake: Box<Handshake>, auth: &Auth<'_>) -> Step {
        if auth.reason != ReasonCode::ContinueAuthentication {
            let what = "AUTH must continue the exchange";
            return self.refuse(
                handshake.version,
                Refusal::new(ReasonCode::ProtocolError).text(what),
            );
        }

        if auth.properties.authentication_method() != handshake.method.as_deref() {
            let what = "AUTH names another Authentication Method";
            return self.refuse(
                handshake.version,
                Refusal::new(ReasonCode::ProtocolError).text(what),
            );
        }

        let data = auth
            .properties
            .authentication_data()
            .map(Bytes::copy_from_slice);
        self.continue_exchange(handshake, data)
    }

    /// AUTH of a connected client (section 4.12.1).
    pub(super) fn auth(&mut self, auth: &Auth<'_>) -> Step {
        let violation = |what| Err(Fault::violation(ReasonCode::ProtocolError, what));
        let Some(state) = self.re_authentication.as_deref_mut() else {
            return violation("AUTH without Authentication Method in CONNECT"); // MQTT-4.12.0-7
        };

        if auth.properties.authentication_method() != Some(&*state.method) {
            return violation("AUTH names another Authentication Method"); // MQTT-4.12.1-1
        }

        let first = match (auth.reason, state.ongoing) {
            (ReasonCode::ReAuthenticate, false) => true,
            (ReasonCode::ContinueAuthentication, true) => false,
            _ => return violation("AUTH with a reason code that does not belong here"),
        };

        state.ongoing = true;

        let (method, place) = (state.method.clone(), state.place);
        let Some(client) = self.info.clone() else {
            return violation("no re-authentication here");
        };

        let data = auth
            .properties
            .authentication_data()
            .map(Bytes::copy_from_slice);
        let step = step(&client, &method, data, first, true);
        match self.hub.continue_exchange(&step, place) {
            EnhancedVerdict::Now(reply) => self.re_authenticated(Answer::Auth(reply)),
            EnhancedVerdict::Pass => self.re_authenticated(Answer::Pass),
            EnhancedVerdict::Defer(deferred) => self.wait(deferred, Then::ReAuthenticated),
        }
    }

    pub(super) fn re_authenticated(&mut self, answer: Answer) -> Step {
        let Some(state) = self.re_authentication.as_deref_mut() else {
            return Ok(());
        };

        let method = state.method.clone();
        match answer {
            Answer::Auth(AuthReply::Continue(data)) => {
                self.say_auth(ReasonCode::ContinueAuthentication, &method, data.as_deref())
            }
            Answer::Auth(AuthReply::Accept(data)) => {
                state.ongoing = false;
                self.say_auth(ReasonCode::Success, &method, data.as_deref())
            }
            Answer::Allow => {
                state.ongoing = false;
                self.say_auth(ReasonCode::Success, &method, None)
            }
            Answer::Pass => self.re_authenticated(Answer::Deny(unknown_method())),
            // MQTT-4.12.1-2
            Answer::Auth(AuthReply::Refuse(mut refusal)) | Answer::Deny(mut refusal) => {
                let whom = self.link.whom(self.session.as_ref());
                let packet = (ReasonPacket::Disconnect, self.version); // MQTT-3.14.2-1
                refusal.reason = self.batch.carried(whom, packet, refusal.reason);
                Err(Fault {
                    reason: DisconnectReason::ByServer(refusal.reason),
                    refusal: Some(refusal),
                })
            }
        }
    }

    /// AUTH to a connected client, whose connection ends if it cannot take it.
    fn say_auth(&mut self, reason: ReasonCode, method: &str, data: Option<&[u8]>) -> Step {
        if self.send_auth(reason, method, data) {
            return Ok(());
        }
        let what = "AUTH does not fit into the client's Maximum Packet Size";
        Err(Fault::violation(ReasonCode::PacketTooLarge, what))
    }

    /// Writes AUTH; `false` if it does not fit into the client's Maximum Packet Size.
    fn send_auth(&mut self, reason: ReasonCode, method: &str, data: Option<&[u8]>) -> bool {
        let mut properties = PropertiesBuf::new();
        let mut complete = properties
            .push(Property::AuthenticationMethod(method))
            .is_ok();

        if let Some(data) = data {
            complete &= properties.push(Property::AuthenticationData(data)).is_ok();
        }

        let packet = Packet::Auth(Auth {
            reason,
            properties: properties.as_properties(),
        });

        let sent = complete
            && self.fits(&packet)
            && midge_codec::encode(&packet, Version::V5, &mut self.batch.replies).is_ok();

        if sent {
            self.batch.packet_sent();
        }

        sent
    }
}
