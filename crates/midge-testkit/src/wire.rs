//! Bytes of MQTT, put together by hand.

/// A growing run of bytes in MQTT's encoding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wire(pub Vec<u8>);

impl Wire {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// One byte.
    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.raw([value])
    }

    /// A Two Byte Integer.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.raw(value.to_be_bytes())
    }

    /// A Four Byte Integer.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.raw(value.to_be_bytes())
    }

    /// A Variable Byte Integer of the shortest form.
    #[must_use]
    pub fn var(mut self, value: usize) -> Self {
        let mut rest = value;
        loop {
            let digit = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                self.0.push(digit);
                return self;
            }
            self.0.push(digit | 0x80);
        }
    }

    /// A string or binary data: two bytes of length, then the bytes, well-formed or not.
    #[must_use]
    pub fn text(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        let length = u16::try_from(bytes.len()).expect("a string of MQTT has at most 65535 bytes");
        self.u16(length).raw(bytes)
    }

    /// A property block: its length, then the properties.
    #[must_use]
    pub fn props(self, props: &PropsBuf) -> Self {
        self.var(props.0.len()).raw(&props.0)
    }

    /// The whole packet: fixed header with this first byte, then these bytes as the body.
    #[must_use]
    pub fn packet(self, first: u8) -> Vec<u8> {
        packet(first, self.0)
    }
}

/// A packet: first byte, Remaining Length, body.
#[must_use]
pub fn packet(first: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    Wire::new().u8(first).var(body.len()).raw(body).0
}

/// Properties without their length, legal or not. Identifiers are in [`crate::id`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropsBuf(pub Vec<u8>);

impl PropsBuf {
    /// No properties.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn add(self, id: u8, value: Wire) -> Self {
        self.raw([id]).raw(value.0)
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A property that is a byte.
    #[must_use]
    pub fn u8(self, id: u8, value: u8) -> Self {
        self.add(id, Wire::new().u8(value))
    }

    /// A property that is a Two Byte Integer.
    #[must_use]
    pub fn u16(self, id: u8, value: u16) -> Self {
        self.add(id, Wire::new().u16(value))
    }

    /// A property that is a Four Byte Integer.
    #[must_use]
    pub fn u32(self, id: u8, value: u32) -> Self {
        self.add(id, Wire::new().u32(value))
    }

    /// A property that is a Variable Byte Integer.
    #[must_use]
    pub fn var(self, id: u8, value: usize) -> Self {
        self.add(id, Wire::new().var(value))
    }

    /// A property that is a string or binary data.
    #[must_use]
    pub fn text(self, id: u8, value: impl AsRef<[u8]>) -> Self {
        self.add(id, Wire::new().text(value))
    }

    /// A User Property.
    #[must_use]
    pub fn user(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.add(crate::id::USER_PROPERTY, Wire::new().text(name).text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_have_the_lengths_of_the_table() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ] {
            assert_eq!(Wire::new().var(value).0, bytes);
        }
    }
}
