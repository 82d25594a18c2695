//! Properties: the table, and reading them strictly.

use crate::reader::Reader;

/// Property identifiers.
#[allow(missing_docs)] // The names are those of the standard.
pub mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON_STRING: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2a;

    /// Every property identifier.
    pub const ALL: [u8; 27] = [
        0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x11, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a,
        0x1c, 0x1f, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a,
    ];
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Byte.
    Byte(u8),
    /// Two Byte Integer.
    Two(u16),
    /// Four Byte Integer.
    Four(u32),
    /// Variable Byte Integer.
    Var(u32),
    /// UTF-8 Encoded String.
    Text(String),
    /// Binary Data.
    Binary(Vec<u8>),
    /// UTF-8 String Pair.
    Pair(String, String),
}

/// One property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prop {
    /// Identifier.
    pub id: u8,
    /// Value.
    pub value: Value,
}

/// Properties of a packet in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Props(pub Vec<Prop>);

impl Props {
    /// Whether a property is there.
    #[must_use]
    pub fn has(&self, id: u8) -> bool {
        self.find(id).is_some()
    }

    /// Whether there is no property at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, id: u8) -> Option<&Value> {
        self.0
            .iter()
            .find(|prop| prop.id == id)
            .map(|prop| &prop.value)
    }

    /// A property that is any kind of integer.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        self.find(id).map(|value| match value {
            Value::Byte(byte) => u32::from(*byte),
            Value::Two(two) => u32::from(*two),
            Value::Four(four) => *four,
            Value::Var(var) => *var,
            other => panic!("property {id:#04x} is no number: {other:?}"),
        })
    }

    /// A property that is a string.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<&str> {
        self.find(id).map(|value| match value {
            Value::Text(text) => text.as_str(),
            other => panic!("property {id:#04x} is no string: {other:?}"),
        })
    }

    /// A property that is binary data.
    #[must_use]
    pub fn binary(&self, id: u8) -> Option<&[u8]> {
        self.find(id).map(|value| match value {
            Value::Binary(bytes) => bytes.as_slice(),
            other => panic!("property {id:#04x} is no binary data: {other:?}"),
        })
    }

    /// User Properties in order.
    #[must_use]
    pub fn users(&self) -> Vec<(&str, &str)> {
        let pairs = self.0.iter().filter_map(|prop| match &prop.value {
            Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
            _ => None,
        });
        pairs.collect()
    }

    /// Subscription Identifiers, sorted.
    #[must_use]
    pub fn subscription_ids(&self) -> Vec<u32> {
        let ids = self.0.iter().filter_map(|prop| match prop.value {
            Value::Var(value) if prop.id == id::SUBSCRIPTION_IDENTIFIER => Some(value),
            _ => None,
        });
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        ids
    }
}

/// Reads a property block; `allowed` are the identifiers that the packet may have.
pub(crate) fn read(reader: &mut Reader<'_>, allowed: &[u8]) -> Result<Props, String> {
    let length = reader.var()? as usize;
    let mut block = Reader::new(reader.take(length)?);
    let mut props = Props::default();
    while !block.is_empty() {
        let prop = read_one(&mut block)?;
        let id = prop.id;
        if !allowed.contains(&id) {
            return Err(format!("property {id:#04x} is not allowed in this packet"));
        }
        let may_repeat = id == id::USER_PROPERTY || id == id::SUBSCRIPTION_IDENTIFIER;
        if !may_repeat && props.has(id) {
            return Err(format!("property {id:#04x} occurs twice"));
        }
        props.0.push(prop);
    }
    Ok(props)
}

fn read_one(block: &mut Reader<'_>) -> Result<Prop, String> {
    let id = block.u8()?;
    let value = match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => Value::Byte(block.u8()?),
        0x13 | 0x21 | 0x22 | 0x23 => Value::Two(block.u16()?),
        0x02 | 0x11 | 0x18 | 0x27 => Value::Four(block.u32()?),
        0x0b => Value::Var(block.var()?),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Value::Text(block.text()?),
        0x09 | 0x16 => Value::Binary(block.binary()?.to_vec()),
        0x26 => Value::Pair(block.text()?, block.text()?),
        unknown => return Err(format!("property {unknown:#04x} does not exist")),
    };

    let legal = match (&value, id) {
        (Value::Byte(byte), _) => *byte <= 1,
        (Value::Two(two), id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS) => *two > 0,
        (Value::Four(four), id::MAXIMUM_PACKET_SIZE) => *four > 0,
        (Value::Var(var), _) => *var > 0,
        (Value::Text(text), id::RESPONSE_TOPIC) => !text.contains(['+', '#']),
        _ => true,
    };

    if legal {
        Ok(Prop { id, value })
    } else {
        Err(format!("property {id:#04x} has {value:?}"))
    }
}
