//! What every packet has to do with: version, sender, quality of service.

/// Protocol version of a connection, from protocol name and level of CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, `MQIsdp` level 3.
    V31,
    /// MQTT 3.1.1, `MQTT` level 4.
    V311,
    /// MQTT 5.0, `MQTT` level 5.
    V5,
}

impl Version {
    /// Whether it is MQTT 3.1. Never in a build without the feature `mqtt31`, so that what 3.1 alone
    /// needs is left out of it.
    pub const fn is_v31(self) -> bool {
        cfg!(feature = "mqtt31") && matches!(self, Self::V31)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Quality of service of a message or a subscription (section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// QoS from its number, `None` for 3 and above.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The sender of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client: a server decodes.
    Client,
    /// The server: a client decodes.
    Server,
}
