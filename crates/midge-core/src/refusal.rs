//! A refusal, and what is left of it on the wire: each packet carries certain reason codes only.

use midge_codec::{PropertiesBuf, Property, ReasonCode, ReasonPacket, Side};

/// A refusal: reason code, text for the client, another server to use.
///
/// A packet that cannot carry the reason code carries another one in its place, and
/// [`Event::ReasonReplaced`](crate::Event::ReasonReplaced) tells so: 0x87 Not authorized for a code
/// that is about the client, or below 0x80 and so no refusal at all, else 0x83 Implementation
/// specific error. Clients before 5.0 get the return code of CONNACK or SUBACK that comes nearest,
/// and where there is none the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Reason code, 0x80 or above.
    pub reason: ReasonCode,
    /// Reason String for 5.0 clients.
    pub text: Option<String>,
    /// Server Reference for 5.0 clients. Sent in CONNACK and DISCONNECT, with 0x9C and 0x9D only.
    pub server_reference: Option<String>,
}

impl Refusal {
    /// A refusal with a reason code alone.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            text: None,
            server_reference: None,
        }
    }

    /// Adds a Reason String.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Adds a Server Reference.
    #[must_use]
    pub fn server_reference(mut self, server: impl Into<String>) -> Self {
        self.server_reference = Some(server.into());
        self
    }

    /// What CONNACK and DISCONNECT explain with `reason`, which came of this refusal. A property
    /// that is not valid is left out.
    pub(crate) fn explained(&self, reason: ReasonCode) -> PropertiesBuf {
        let mut properties = PropertiesBuf::new();
        if let Some(text) = &self.text {
            let _ = properties.push(Property::ReasonString(text));
        }
        let moved = matches!(
            reason,
            ReasonCode::UseAnotherServer | ReasonCode::ServerMoved
        );
        if let (Some(server), true) = (&self.server_reference, moved) {
            let _ = properties.push(Property::ServerReference(server));
        }
        properties
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{}: {text}", self.reason),
            None => self.reason.fmt(f),
        }
    }
}

impl std::error::Error for Refusal {}

/// The reason code with which `packet` says no because of `reason`: that one if the packet can carry
/// it (MQTT-3.2.2-8, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.9.3-2, MQTT-3.11.3-2, MQTT-3.14.2-1), else
/// the nearest one that every packet with a refusal carries.
pub(crate) fn carried(reason: ReasonCode, packet: ReasonPacket) -> ReasonCode {
    if reason.is_error() && reason.is_allowed(packet, Side::Server) {
        return reason;
    }
    match reason {
        ReasonCode::ClientIdentifierNotValid
        | ReasonCode::BadUserNameOrPassword
        | ReasonCode::Banned
        | ReasonCode::BadAuthenticationMethod => ReasonCode::NotAuthorized,
        success if !success.is_error() => ReasonCode::NotAuthorized,
        _ => ReasonCode::ImplementationSpecificError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_that_refuses_carries_what_comes_of_every_code() {
        let refusing = ReasonPacket::ALL.into_iter().filter(|packet| {
            ![
                ReasonPacket::Pubrel,
                ReasonPacket::Pubcomp,
                ReasonPacket::Auth,
            ]
            .contains(packet)
        });

        for packet in refusing {
            for reason in ReasonCode::ALL {
                let sent = carried(*reason, packet);
                assert!(sent.is_error(), "{reason} in {packet:?}");
                assert!(
                    sent.is_allowed(packet, Side::Server),
                    "{reason} in {packet:?}"
                );
                assert_eq!(carried(sent, packet), sent);
            }
        }

        let puback = |reason| carried(reason, ReasonPacket::Puback);
        let specific = ReasonCode::ImplementationSpecificError;
        assert_eq!(puback(ReasonCode::PacketTooLarge), specific);
        assert_eq!(puback(ReasonCode::Success), ReasonCode::NotAuthorized);
        assert_eq!(puback(ReasonCode::Banned), ReasonCode::NotAuthorized);
        assert_eq!(puback(ReasonCode::QuotaExceeded), ReasonCode::QuotaExceeded);
    }
}
