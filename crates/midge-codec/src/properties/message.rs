//! The properties of a message, as a broker needs them: some to act on, the others to forward.

use crate::Properties;
use crate::wire::{Varint, split_field, varint};

use super::table::range_fault;
use super::{Spans, id, is_repeatable};

/// One pass over the properties of a PUBLISH or will.
///
/// What is forwarded unaltered (payload format, content type, response topic, correlation data and
/// user properties) is the *block*: it goes to every receiver as it came, in the same order
/// (MQTT-3.3.2-4, MQTT-3.3.2-15 to 18, MQTT-3.3.2-20, MQTT-3.1.3-10).
#[derive(Clone, Copy, Default, Debug)]
pub struct MessageProperties<'a> {
    /// Payload Format Indicator.
    pub payload_format: Option<u8>,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// Topic Alias.
    pub topic_alias: Option<u16>,
    /// Will Delay Interval in seconds.
    pub will_delay: Option<u32>,
    /// Content Type.
    pub content_type: Option<&'a str>,
    /// Response Topic.
    pub response_topic: Option<&'a str>,
    /// Correlation Data.
    pub correlation_data: Option<&'a [u8]>,
    /// The first Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// Whether there is at least one user property.
    pub has_user_properties: bool,
    source: &'a [u8],
    block_len: usize,
}

impl<'a> MessageProperties<'a> {
    /// Reads properties once.
    #[inline]
    pub fn new(properties: Properties<'a>) -> Self {
        if properties.is_empty() {
            Self::default()
        } else {
            Self::read(properties.as_bytes())
        }
    }

    fn read(source: &'a [u8]) -> Self {
        let mut this = Self {
            source,
            ..Self::default()
        };

        for (id, property) in Spans(source) {
            let value = property.get(1..).unwrap_or_default();
            match id {
                id::PAYLOAD_FORMAT_INDICATOR => this.payload_format = value.first().copied(),
                id::MESSAGE_EXPIRY_INTERVAL => this.message_expiry = long(value),
                id::CONTENT_TYPE => this.content_type = text(value),
                id::RESPONSE_TOPIC => this.response_topic = text(value),
                id::CORRELATION_DATA => {
                    this.correlation_data = split_field(value).map(|(data, _)| data);
                }
                id::SUBSCRIPTION_IDENTIFIER => {
                    if let (None, Varint::Value(id, _)) = (this.subscription_id, varint(value)) {
                        this.subscription_id = Some(id);
                    }
                }
                id::WILL_DELAY_INTERVAL => this.will_delay = long(value),
                id::TOPIC_ALIAS => {
                    this.topic_alias = value.first_chunk().map(|alias| u16::from_be_bytes(*alias));
                }
                id::USER_PROPERTY => this.has_user_properties = true,
                _ => {}
            }
            if is_forwarded(id) {
                this.block_len += property.len();
            }
        }

        this
    }

    /// What forbids the block in a PUBLISH, if anything does: a property that is there twice though it
    /// may occur once, or has a value that it must not have. Nothing that was decoded has a fault;
    /// what a program put together may have.
    pub fn fault(&self) -> Option<&'static str> {
        let mut seen = 0_u64;
        let forwarded = Spans(self.source).filter(|(id, _)| is_forwarded(*id));
        for (id, bytes) in forwarded {
            let bit = 1 << (id & 63);
            if seen & bit != 0 && !is_repeatable(id) {
                return Some("property: twice");
            }
            seen |= bit;
            let Some(property) = Properties(bytes).iter().next() else {
                return Some("property: ill-formed");
            };
            if let Some((what, _)) = range_fault(&property) {
                return Some(what);
            }
        }
        None
    }

    /// Length of the block in bytes.
    #[inline]
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Appends the block.
    pub fn append_block(&self, out: &mut Vec<u8>) {
        if self.block_len == self.source.len() {
            out.extend_from_slice(self.source);
            return;
        }
        out.reserve(self.block_len);
        for (id, property) in Spans(self.source) {
            if is_forwarded(id) {
                out.extend_from_slice(property);
            }
        }
    }
}

const fn is_forwarded(id: u8) -> bool {
    matches!(
        id,
        id::PAYLOAD_FORMAT_INDICATOR
            | id::CONTENT_TYPE
            | id::RESPONSE_TOPIC
            | id::CORRELATION_DATA
            | id::USER_PROPERTY
    )
}

fn long(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn text(value: &[u8]) -> Option<&str> {
    split_field(value).and_then(|(text, _)| std::str::from_utf8(text).ok())
}
