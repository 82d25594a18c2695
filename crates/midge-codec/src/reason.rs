//! Reason codes (section 2.4): one table of names, one of senders and packets.

use std::fmt;

use crate::{QoS, Side};

macro_rules! reason_codes {
    ($($variant:ident = $code:literal, $name:literal;)*) => {
        /// Reason code of MQTT 5.0 (section 2.4). Return codes of 3.1.1 and 3.1 are mapped onto it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = concat!($name, ".")] $variant = $code,)*
        }

        impl ReasonCode {
            /// Every reason code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Reason code from its number.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Name in the words of the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reason_codes! {
    Success = 0x00, "Success";
    GrantedQoS1 = 0x01, "Granted QoS 1";
    GrantedQoS2 = 0x02, "Granted QoS 2";
    DisconnectWithWill = 0x04, "Disconnect with Will Message";
    NoMatchingSubscribers = 0x10, "No matching subscribers";
    NoSubscriptionExisted = 0x11, "No subscription existed";
    ContinueAuthentication = 0x18, "Continue authentication";
    ReAuthenticate = 0x19, "Re-authenticate";
    UnspecifiedError = 0x80, "Unspecified error";
    MalformedPacket = 0x81, "Malformed Packet";
    ProtocolError = 0x82, "Protocol Error";
    ImplementationSpecificError = 0x83, "Implementation specific error";
    UnsupportedProtocolVersion = 0x84, "Unsupported Protocol Version";
    ClientIdentifierNotValid = 0x85, "Client Identifier not valid";
    BadUserNameOrPassword = 0x86, "Bad User Name or Password";
    NotAuthorized = 0x87, "Not authorized";
    ServerUnavailable = 0x88, "Server unavailable";
    ServerBusy = 0x89, "Server busy";
    Banned = 0x8A, "Banned";
    ServerShuttingDown = 0x8B, "Server shutting down";
    BadAuthenticationMethod = 0x8C, "Bad authentication method";
    KeepAliveTimeout = 0x8D, "Keep Alive timeout";
    SessionTakenOver = 0x8E, "Session taken over";
    TopicFilterInvalid = 0x8F, "Topic Filter invalid";
    TopicNameInvalid = 0x90, "Topic Name invalid";
    PacketIdentifierInUse = 0x91, "Packet Identifier in use";
    PacketIdentifierNotFound = 0x92, "Packet Identifier not found";
    ReceiveMaximumExceeded = 0x93, "Receive Maximum exceeded";
    TopicAliasInvalid = 0x94, "Topic Alias invalid";
    PacketTooLarge = 0x95, "Packet too large";
    MessageRateTooHigh = 0x96, "Message rate too high";
    QuotaExceeded = 0x97, "Quota exceeded";
    AdministrativeAction = 0x98, "Administrative action";
    PayloadFormatInvalid = 0x99, "Payload format invalid";
    RetainNotSupported = 0x9A, "Retain not supported";
    QoSNotSupported = 0x9B, "QoS not supported";
    UseAnotherServer = 0x9C, "Use another server";
    ServerMoved = 0x9D, "Server moved";
    SharedSubscriptionsNotSupported = 0x9E, "Shared Subscriptions not supported";
    ConnectionRateExceeded = 0x9F, "Connection rate exceeded";
    MaximumConnectTime = 0xA0, "Maximum connect time";
    SubscriptionIdentifiersNotSupported = 0xA1, "Subscription Identifiers not supported";
    WildcardSubscriptionsNotSupported = 0xA2, "Wildcard Subscriptions not supported";
}

impl ReasonCode {
    /// Whether it says that something failed.
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The return code of a 3.1.1 or 3.1 CONNACK that comes nearest. `None` if there is none and
    /// the connection is closed without a CONNACK (MQTT-3.2.2-6 of 3.1.1).
    pub const fn v3_connack(self) -> Option<u8> {
        Some(match self {
            Self::Success => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => 3,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned => 5,
            _ => return None,
        })
    }

    /// What a return code of a 3.1.1 or 3.1 CONNACK means; 6 and above are reserved.
    pub const fn from_v3_connack(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnsupportedProtocolVersion,
            2 => Self::ClientIdentifierNotValid,
            3 => Self::ServerUnavailable,
            4 => Self::BadUserNameOrPassword,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The code of a SUBACK that grants this QoS.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// Whether `sender` may put it into `packet` (the tables of section 2.4 and of each packet).
    pub const fn is_allowed(self, packet: ReasonPacket, sender: Side) -> bool {
        let packets = match sender {
            Side::Client => self.client_packets(),
            Side::Server => self.server_packets(),
        };
        packets & packet.bit() != 0
    }

    const fn client_packets(self) -> u16 {
        match self {
            Self::Success => PUBACK | PUBREC | PUBREL | PUBCOMP | DISCONNECT,
            // Only servers have a use for it, but it is a success (MQTT-4.3.3-4).
            Self::NoMatchingSubscribers => PUBACK | PUBREC,
            Self::ContinueAuthentication | Self::ReAuthenticate => AUTH,
            Self::UnspecifiedError
            | Self::ImplementationSpecificError
            | Self::TopicNameInvalid
            | Self::QuotaExceeded
            | Self::PayloadFormatInvalid => PUBACK | PUBREC | DISCONNECT,
            Self::NotAuthorized | Self::PacketIdentifierInUse => PUBACK | PUBREC,
            Self::PacketIdentifierNotFound => PUBREL | PUBCOMP,
            Self::DisconnectWithWill
            | Self::MalformedPacket
            | Self::ProtocolError
            | Self::ReceiveMaximumExceeded
            | Self::TopicAliasInvalid
            | Self::PacketTooLarge
            | Self::MessageRateTooHigh
            | Self::AdministrativeAction => DISCONNECT,
            _ => 0,
        }
    }

    const fn server_packets(self) -> u16 {
        match self {
            Self::Success => {
                CONNACK | PUBACK | PUBREC | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECT | AUTH
            }
            Self::GrantedQoS1 | Self::GrantedQoS2 => SUBACK,
            Self::NoMatchingSubscribers => PUBACK | PUBREC,
            Self::NoSubscriptionExisted => UNSUBACK,
            Self::ContinueAuthentication => AUTH,
            Self::UnspecifiedError | Self::ImplementationSpecificError | Self::NotAuthorized => {
                CONNACK | PUBACK | PUBREC | SUBACK | UNSUBACK | DISCONNECT
            }
            Self::UnsupportedProtocolVersion
            | Self::ClientIdentifierNotValid
            | Self::BadUserNameOrPassword
            | Self::ServerUnavailable
            | Self::Banned
            | Self::BadAuthenticationMethod => CONNACK,
            Self::MalformedPacket
            | Self::ProtocolError
            | Self::ServerBusy
            | Self::PacketTooLarge
            | Self::RetainNotSupported
            | Self::QoSNotSupported
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => CONNACK | DISCONNECT,
            Self::TopicFilterInvalid => SUBACK | UNSUBACK | DISCONNECT,
            Self::TopicNameInvalid | Self::PayloadFormatInvalid => {
                CONNACK | PUBACK | PUBREC | DISCONNECT
            }

            Self::PacketIdentifierInUse => PUBACK | PUBREC | SUBACK | UNSUBACK,
            Self::PacketIdentifierNotFound => PUBREL | PUBCOMP,
            Self::QuotaExceeded => CONNACK | PUBACK | PUBREC | SUBACK | DISCONNECT,
            Self::SharedSubscriptionsNotSupported
            | Self::SubscriptionIdentifiersNotSupported
            | Self::WildcardSubscriptionsNotSupported => SUBACK | DISCONNECT,
            Self::ServerShuttingDown
            | Self::KeepAliveTimeout
            | Self::SessionTakenOver
            | Self::ReceiveMaximumExceeded
            | Self::TopicAliasInvalid
            | Self::MessageRateTooHigh
            | Self::AdministrativeAction
            | Self::MaximumConnectTime => DISCONNECT,
            Self::DisconnectWithWill | Self::ReAuthenticate => 0,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), *self as u8)
    }
}

/// The packets that carry reason codes (section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // named like the packets
pub enum ReasonPacket {
    Connack,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Suback,
    Unsuback,
    Disconnect,
    Auth,
}

impl ReasonPacket {
    /// Every one of them, in the order of their packet types.
    pub const ALL: [Self; 9] = [
        Self::Connack,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Suback,
        Self::Unsuback,
        Self::Disconnect,
        Self::Auth,
    ];

    /// Its name in the words of the specification.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connack => "CONNACK",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Suback => "SUBACK",
            Self::Unsuback => "UNSUBACK",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

const CONNACK: u16 = ReasonPacket::Connack.bit();
const PUBACK: u16 = ReasonPacket::Puback.bit();
const PUBREC: u16 = ReasonPacket::Pubrec.bit();
const PUBREL: u16 = ReasonPacket::Pubrel.bit();
const PUBCOMP: u16 = ReasonPacket::Pubcomp.bit();
const SUBACK: u16 = ReasonPacket::Suback.bit();
const UNSUBACK: u16 = ReasonPacket::Unsuback.bit();
const DISCONNECT: u16 = ReasonPacket::Disconnect.bit();
const AUTH: u16 = ReasonPacket::Auth.bit();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names() {
        for code in 0..=255 {
            if let Some(reason) = ReasonCode::from_u8(code) {
                assert_eq!(reason as u8, code);
                assert!(!reason.name().is_empty());
                assert_eq!(reason.is_error(), code >= 128);
            }
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
        assert!(ReasonCode::ALL.is_sorted());
        assert_eq!(ReasonCode::ServerBusy.to_string(), "Server busy (0x89)");
    }

    #[test]
    fn v3_connack_and_back() {
        for code in 0..=255 {
            let reason = ReasonCode::from_v3_connack(code);
            assert_eq!(reason.is_some(), code <= 5);
            assert_eq!(
                reason.and_then(ReasonCode::v3_connack),
                reason.map(|_| code)
            );
        }
        assert_eq!(ReasonCode::ProtocolError.v3_connack(), None);
        assert_eq!(ReasonCode::Banned.v3_connack(), Some(5));
        assert_eq!(ReasonCode::QuotaExceeded.v3_connack(), Some(3));
    }

    #[test]
    fn granted_is_the_qos() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            assert_eq!(ReasonCode::granted(qos) as u8, qos as u8);
        }
    }
}
