//! A block of properties that is being built.

use crate::wire::{MAX_VARINT, field_len, put_field, put_varint, string_len};
use crate::{EncodeError, Properties, Property};

use super::{Spans, Value};

/// Properties that a program puts together.
///
/// It knows the form of each property, but not which packet they are meant for.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct PropertiesBuf(Vec<u8>);

impl PropertiesBuf {
    /// No properties yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Sets a property: as [`PropertiesBuf::push`], and what was there of the same kind goes, unless
    /// it is a user property or subscription identifier, of which there may be several. Nothing
    /// changes if it cannot be encoded.
    pub fn set(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let mut added = Self::new();
        added.push(property)?;
        if !super::is_repeatable(property.id()) {
            let others = Spans(&self.0).filter(|(id, _)| *id != property.id());
            let others: Vec<u8> = others.flat_map(|(_, bytes)| bytes).copied().collect();
            self.0 = others;
        }
        self.0.extend_from_slice(&added.0);
        Ok(())
    }

    /// Appends a property, or nothing if it cannot be encoded. It is not looked at whether there is
    /// one of the same kind already.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        let (id, value) = property.parts();
        match value {
            Value::Byte(value) => self.0.extend([id, value]),
            Value::Short(value) => {
                self.0.push(id);
                self.0.extend(value.to_be_bytes());
            }
            Value::Long(value) => {
                self.0.push(id);
                self.0.extend(value.to_be_bytes());
            }
            Value::Varint(value) => {
                if value > MAX_VARINT {
                    return Err(EncodeError::ValueOutOfRange);
                }
                self.0.push(id);
                put_varint(&mut self.0, value);
            }

            Value::Binary(value) => {
                self.0.reserve(1 + field_len(value)?);
                self.0.push(id);
                put_field(&mut self.0, value);
            }
            Value::Text(value) => {
                self.0.reserve(1 + string_len(value)?);
                self.0.push(id);
                put_field(&mut self.0, value.as_bytes());
            }
            Value::Pair(name, value) => {
                self.0.reserve(1 + string_len(name)? + string_len(value)?);
                self.0.push(id);
                put_field(&mut self.0, name.as_bytes());
                put_field(&mut self.0, value.as_bytes());
            }
        }

        Ok(())
    }

    /// The properties so far.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Length of the block in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl From<Properties<'_>> for PropertiesBuf {
    fn from(properties: Properties<'_>) -> Self {
        Self(properties.as_bytes().to_vec())
    }
}
