//! Packets that a client sends.

use crate::packet::Kind;
use crate::props::id;
use crate::wire::{PropsBuf, Wire};

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    /// Will Topic.
    pub topic: Vec<u8>,
    /// Will Payload.
    pub payload: Vec<u8>,
    /// Will QoS, 3 included.
    pub qos: u8,
    /// Will Retain.
    pub retain: bool,
    /// Will Properties.
    pub props: PropsBuf,
}

impl Will {
    /// A QoS 0 will.
    #[must_use]
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            props: PropsBuf::new(),
        }
    }

    /// Sets Will QoS.
    #[must_use]
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    /// Sets Will Retain.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Adds Will Delay Interval.
    #[must_use]
    pub fn delay(mut self, seconds: u32) -> Self {
        self.props = self.props.u32(id::WILL_DELAY_INTERVAL, seconds);
        self
    }

    /// Adds properties.
    #[must_use]
    pub fn props(mut self, props: PropsBuf) -> Self {
        self.props = self.props.raw(props.0);
        self
    }
}

/// A CONNECT.
#[derive(Clone, Debug)]
pub struct Connect {
    /// Protocol Name.
    pub name: Vec<u8>,
    /// Protocol Version.
    pub version: u8,
    /// Client Identifier.
    pub client_id: Vec<u8>,
    /// Clean Start.
    pub clean: bool,
    /// Keep Alive.
    pub keep_alive: u16,
    /// Properties (version 5).
    pub props: PropsBuf,
    /// Will.
    pub will: Option<Will>,
    /// User Name.
    pub user: Option<Vec<u8>>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Connect Flags instead of the right ones.
    pub flags: Option<u8>,
}

impl Connect {
    /// A CONNECT of version 3 (3.1), 4 (3.1.1) or 5 with a clean session and no keep alive.
    #[must_use]
    pub fn new(version: u8, client_id: impl AsRef<[u8]>) -> Self {
        Self {
            name: if version == 3 {
                b"MQIsdp".to_vec()
            } else {
                b"MQTT".to_vec()
            },
            version,
            client_id: client_id.as_ref().to_vec(),
            clean: true,
            keep_alive: 0,
            props: PropsBuf::new(),
            will: None,
            user: None,
            password: None,
            flags: None,
        }
    }

    /// A CONNECT of MQTT 5.
    #[must_use]
    pub fn v5(client_id: impl AsRef<[u8]>) -> Self {
        Self::new(5, client_id)
    }

    /// Sets Clean Start (Clean Session before version 5).
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// Sets Keep Alive in seconds.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Adds properties.
    #[must_use]
    pub fn props(mut self, props: PropsBuf) -> Self {
        self.props = self.props.raw(props.0);
        self
    }

    /// Adds Session Expiry Interval.
    #[must_use]
    pub fn expiry(self, seconds: u32) -> Self {
        self.props(PropsBuf::new().u32(id::SESSION_EXPIRY_INTERVAL, seconds))
    }

    /// Adds Receive Maximum.
    #[must_use]
    pub fn receive_maximum(self, maximum: u16) -> Self {
        self.props(PropsBuf::new().u16(id::RECEIVE_MAXIMUM, maximum))
    }

    /// Adds Maximum Packet Size.
    #[must_use]
    pub fn maximum_packet_size(self, bytes: u32) -> Self {
        self.props(PropsBuf::new().u32(id::MAXIMUM_PACKET_SIZE, bytes))
    }

    /// Adds Topic Alias Maximum.
    #[must_use]
    pub fn topic_alias_maximum(self, maximum: u16) -> Self {
        self.props(PropsBuf::new().u16(id::TOPIC_ALIAS_MAXIMUM, maximum))
    }

    /// Sets the will.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    /// Sets User Name.
    #[must_use]
    pub fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.user = Some(user.as_ref().to_vec());
        self
    }

    /// Sets Password.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// Writes these Connect Flags whatever the payload has.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags = Some(flags);
        self
    }

    /// Writes this protocol name and version; the layout stays that of the version before.
    #[must_use]
    pub fn bytes_with_protocol(&self, name: impl AsRef<[u8]>, version: u8) -> Vec<u8> {
        let mut body = Wire::new().text(name).u8(version).0;
        let skip = 2 + self.name.len() + 1;
        body.extend_from_slice(self.body().get(skip..).unwrap_or_default());
        crate::wire::packet(0x10, body)
    }

    fn right_flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            0x04 | (will.qos << 3) | if will.retain { 0x20 } else { 0 }
        });
        let user = if self.user.is_some() { 0x80 } else { 0 };
        let password = if self.password.is_some() { 0x40 } else { 0 };
        let clean = if self.clean { 0x02 } else { 0 };
        will | user | password | clean
    }

    /// The variable header alone: what stands before the payload.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let head = Wire::new()
            .text(&self.name)
            .u8(self.version)
            .u8(self.flags.unwrap_or_else(|| self.right_flags()))
            .u16(self.keep_alive);
        if self.version == 5 {
            head.props(&self.props).0
        } else {
            head.0
        }
    }

    /// Variable header and payload.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut body = Wire(self.header()).text(&self.client_id);
        if let Some(will) = &self.will {
            if self.version == 5 {
                body = body.props(&will.props);
            }
            body = body.text(&will.topic).text(&will.payload);
        }
        for field in [&self.user, &self.password].into_iter().flatten() {
            body = body.text(field);
        }
        body.0
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        crate::wire::packet(0x10, self.body())
    }
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Topic Name.
    pub topic: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS, 3 included.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Packet Identifier, written when QoS is not 0.
    pub id: u16,
    /// Properties.
    pub props: PropsBuf,
}

impl Publish {
    /// A QoS 0 PUBLISH.
    #[must_use]
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            dup: false,
            id: 0,
            props: PropsBuf::new(),
        }
    }

    /// Sets QoS and Packet Identifier.
    #[must_use]
    pub fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = id;
        self
    }

    /// Sets RETAIN.
    #[must_use]
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Sets DUP.
    #[must_use]
    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// Adds properties.
    #[must_use]
    pub fn props(mut self, props: PropsBuf) -> Self {
        self.props = self.props.raw(props.0);
        self
    }

    /// Adds Topic Alias.
    #[must_use]
    pub fn alias(self, alias: u16) -> Self {
        self.props(PropsBuf::new().u16(id::TOPIC_ALIAS, alias))
    }

    /// Adds Message Expiry Interval.
    #[must_use]
    pub fn expiry(self, seconds: u32) -> Self {
        self.props(PropsBuf::new().u32(id::MESSAGE_EXPIRY_INTERVAL, seconds))
    }

    /// The packet in the layout of a protocol version.
    #[must_use]
    pub fn bytes_for(&self, version: u8) -> Vec<u8> {
        let mut body = Wire::new().text(&self.topic);
        if self.qos > 0 {
            body = body.u16(self.id);
        }
        if version == 5 {
            body = body.props(&self.props);
        }
        let first = 0x30 | (u8::from(self.dup) << 3) | (self.qos << 1) | u8::from(self.retain);
        body.raw(&self.payload).packet(first)
    }

    /// The packet of MQTT 5.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_for(5)
    }
}

/// A SUBSCRIBE.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Packet Identifier.
    pub id: u16,
    /// Properties (version 5).
    pub props: PropsBuf,
    /// Filters with their option bytes.
    pub filters: Vec<(Vec<u8>, u8)>,
}

impl Subscribe {
    /// A SUBSCRIBE without filters.
    #[must_use]
    pub fn new(id: u16) -> Self {
        Self {
            id,
            props: PropsBuf::new(),
            filters: Vec::new(),
        }
    }

    /// Adds a filter; options are QoS, 0x04 No Local, 0x08 Retain As Published, 0x10 or 0x20
    /// Retain Handling.
    #[must_use]
    pub fn filter(mut self, filter: impl AsRef<[u8]>, options: u8) -> Self {
        self.filters.push((filter.as_ref().to_vec(), options));
        self
    }

    /// Adds properties.
    #[must_use]
    pub fn props(mut self, props: PropsBuf) -> Self {
        self.props = self.props.raw(props.0);
        self
    }

    /// Adds a Subscription Identifier.
    #[must_use]
    pub fn subscription_id(self, value: usize) -> Self {
        self.props(PropsBuf::new().var(id::SUBSCRIPTION_IDENTIFIER, value))
    }

    /// The packet in the layout of a protocol version.
    #[must_use]
    pub fn bytes_for(&self, version: u8) -> Vec<u8> {
        let mut body = Wire::new().u16(self.id);
        if version == 5 {
            body = body.props(&self.props);
        }
        for (filter, options) in &self.filters {
            body = body.text(filter).u8(*options);
        }
        body.packet(0x82)
    }

    /// The packet of MQTT 5.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_for(5)
    }
}

/// An UNSUBSCRIBE in the layout of a protocol version.
#[must_use]
pub fn unsubscribe<F: AsRef<[u8]>>(
    version: u8,
    id: u16,
    props: &PropsBuf,
    filters: &[F],
) -> Vec<u8> {
    let mut body = Wire::new().u16(id);
    if version == 5 {
        body = body.props(props);
    }
    for filter in filters {
        body = body.text(filter);
    }
    body.packet(0xa2)
}

/// The first byte of an acknowledgement.
fn first(kind: Kind) -> u8 {
    match kind {
        Kind::Puback => 0x40,
        Kind::Pubrec => 0x50,
        Kind::Pubrel => 0x62,
        Kind::Pubcomp => 0x70,
    }
}

/// An acknowledgement in its shortest form.
#[must_use]
pub fn ack(kind: Kind, id: u16) -> Vec<u8> {
    Wire::new().u16(id).packet(first(kind))
}

/// An acknowledgement with a reason code.
#[must_use]
pub fn ack_code(kind: Kind, id: u16, code: u8) -> Vec<u8> {
    Wire::new().u16(id).u8(code).packet(first(kind))
}

/// An acknowledgement with reason code and properties.
#[must_use]
pub fn ack_full(kind: Kind, id: u16, code: u8, props: &PropsBuf) -> Vec<u8> {
    Wire::new()
        .u16(id)
        .u8(code)
        .props(props)
        .packet(first(kind))
}

/// A DISCONNECT of MQTT 5 with reason code and properties.
#[must_use]
pub fn disconnect(code: u8, props: &PropsBuf) -> Vec<u8> {
    Wire::new().u8(code).props(props).packet(0xe0)
}

/// An AUTH with reason code and properties.
#[must_use]
pub fn auth(code: u8, props: &PropsBuf) -> Vec<u8> {
    Wire::new().u8(code).props(props).packet(0xf0)
}
