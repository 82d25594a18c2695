//! The data types of section 1.5: reading them strictly, measuring and writing them.

use crate::{DecodeError, EncodeError, ReasonCode};

/// Greatest value of a variable byte integer (section 1.5.5).
pub const MAX_VARINT: u32 = 268_435_455;

/// Length of the longest possible packet, fixed header included.
pub const MAX_PACKET_BYTES: usize = 5 + MAX_VARINT as usize;

/// Longest string or binary field in bytes.
pub(crate) const MAX_FIELD_BYTES: usize = u16::MAX as usize;

/// Reads forward through the body of one packet. Nothing is consumed by a failing read, so the
/// offset in an error is that of the field which is wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Where `rest` ends, in bytes from the start of the packet.
    end: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(rest: &'a [u8], end: usize) -> Self {
        Self { rest, end }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn offset(&self) -> usize {
        self.end.saturating_sub(self.rest.len())
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn error(&self, what: &'static str, reason: ReasonCode) -> DecodeError {
        DecodeError {
            what,
            offset: self.offset(),
            reason,
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn malformed(&self, what: &'static str) -> DecodeError {
        self.error(what, ReasonCode::MalformedPacket)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn protocol_error(&self, what: &'static str) -> DecodeError {
        self.error(what, ReasonCode::ProtocolError)
    }

    /// What has not been read yet.
    #[inline]
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Fails if anything is left.
    #[inline]
    pub(crate) fn finish(self, what: &'static str) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed(what))
        }
    }

    #[inline]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        let Some((value, rest)) = self.rest.split_first() else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(*value)
    }

    #[inline]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        let Some((value, rest)) = self.rest.split_first_chunk() else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(u16::from_be_bytes(*value))
    }

    #[inline]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let Some((value, rest)) = self.rest.split_first_chunk() else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    #[inline]
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        match varint(self.rest) {
            Varint::Value(value, rest) => {
                self.rest = rest;
                Ok(value)
            }
            Varint::Partial | Varint::Bad => Err(self.malformed(what)),
        }
    }

    /// The next `len` bytes as a reader of their own.
    #[inline]
    pub(crate) fn sub(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<Reader<'a>, DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(Reader {
            rest: taken,
            end: self.end.saturating_sub(rest.len()),
        })
    }

    /// Length-prefixed bytes (section 1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let Some((value, rest)) = split_field(self.rest) else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(value)
    }

    /// A string (MQTT-1.5.4-1, MQTT-1.5.4-2; before 5.0 MQTT-1.5.3-1, MQTT-1.5.3-2).
    #[inline]
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let Some((value, rest)) = split_field(self.rest) else {
            return Err(self.malformed(what));
        };
        // Ill-formed bytes, overlong forms and surrogates all fail here; a byte order mark is an
        // ordinary character (MQTT-1.5.4-3).
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(self.malformed(what));
        };
        if has_nul(value) {
            return Err(self.malformed(what));
        }
        self.rest = rest;
        Ok(text)
    }

    /// A string whose characters are looked at by the caller, U+0000 included.
    #[inline]
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        let Some((value, rest)) = split_field(self.rest) else {
            return Err(self.malformed(what));
        };
        let Ok(text) = std::str::from_utf8(value) else {
            return Err(self.malformed(what));
        };
        self.rest = rest;
        Ok(text)
    }

    /// A packet identifier; 0 is no identifier (MQTT-2.2.1-3, MQTT-2.3.1-1).
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        let start = *self;
        match self.u16("packet identifier: missing")? {
            0 => Err(start.protocol_error("packet identifier: 0")),
            packet_id => Ok(packet_id),
        }
    }
}

/// Splits a field with a two-byte length off `bytes`.
#[inline]
pub(crate) fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

/// Whether there is a zero byte. Without early exit, so that it compiles to vector code.
#[inline]
pub(crate) fn has_nul(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | (byte == 0))
}

/// What stands at the start of some bytes that should be a variable byte integer.
pub(crate) enum Varint<'a> {
    /// A value, and the bytes behind it.
    Value(u32, &'a [u8]),
    /// Its first bytes.
    Partial,
    /// Longer than four bytes, or longer than it needs to be (MQTT-1.5.5-1).
    Bad,
}

/// Reads a variable byte integer (section 1.5.5).
#[inline]
pub(crate) fn varint(bytes: &[u8]) -> Varint<'_> {
    match bytes {
        [a, rest @ ..] if *a < 0x80 => Varint::Value(u32::from(*a), rest),
        _ => long_varint(bytes),
    }
}

fn long_varint(mut bytes: &[u8]) -> Varint<'_> {
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let Some((byte, rest)) = bytes.split_first() else {
            return Varint::Partial;
        };
        bytes = rest;
        value |= u32::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            // A last byte of zero adds nothing, the integer would be shorter without it.
            return if *byte == 0 && shift > 0 {
                Varint::Bad
            } else {
                Varint::Value(value, bytes)
            };
        }
    }
    Varint::Bad
}

/// How many bytes a variable byte integer takes.
#[inline]
pub(crate) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// A variable byte integer in an array, and how many of its bytes count.
#[inline]
pub(crate) const fn varint_bytes(value: u32) -> ([u8; 4], usize) {
    let len = varint_len(value);
    let mut bytes = [
        value as u8 & 0x7F,
        (value >> 7) as u8 & 0x7F,
        (value >> 14) as u8 & 0x7F,
        (value >> 21) as u8 & 0x7F,
    ];
    let mut i = 0;
    while i + 1 < len {
        bytes[i] |= 0x80;
        i += 1;
    }
    (bytes, len)
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: u32) {
    let (bytes, len) = varint_bytes(value);
    out.extend(bytes.iter().take(len));
}

/// Appends a field whose length [`field_len`] has approved.
pub(crate) fn put_field(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Length of a binary field on the wire.
pub(crate) fn field_len(value: &[u8]) -> Result<usize, EncodeError> {
    if value.len() > MAX_FIELD_BYTES {
        return Err(EncodeError::FieldTooLong);
    }
    Ok(2 + value.len())
}

/// Length of a string on the wire.
pub(crate) fn string_len(value: &str) -> Result<usize, EncodeError> {
    let len = field_len(value.as_bytes())?;
    if has_nul(value.as_bytes()) {
        return Err(EncodeError::NulCharacter);
    }
    Ok(len)
}

/// Length of a block behind its length, as properties have it.
pub(crate) fn block_len(len: usize) -> Result<usize, EncodeError> {
    match u32::try_from(len) {
        Ok(short @ 0..=MAX_VARINT) => Ok(varint_len(short) + len),
        _ => Err(EncodeError::PacketTooLarge),
    }
}

/// Checks a packet identifier (MQTT-2.2.1-3).
pub(crate) fn nonzero(packet_id: u16) -> Result<(), EncodeError> {
    if packet_id == 0 {
        Err(EncodeError::PacketIdZero)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<u32> {
        match varint(bytes) {
            Varint::Value(value, []) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn varint_boundaries() {
        let table: [(u32, &[u8]); 8] = [
            (0, &[0x00]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (MAX_VARINT, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];

        for (value, bytes) in table {
            assert_eq!(read(bytes), Some(value));
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(varint_len(value), bytes.len());
            for cut in 0..bytes.len() {
                assert!(matches!(varint(&bytes[..cut]), Varint::Partial));
            }
        }
    }

    #[test]
    fn mqtt_1_5_5_1_longer_than_needed_is_refused() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x00],
            &[0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x01],
            &[0xFF, 0xFF, 0xFF, 0xFF],
        ] {
            assert!(matches!(varint(bytes), Varint::Bad), "{bytes:02X?}");
        }
    }

    #[test]
    fn failing_reads_consume_nothing() {
        let mut reader = Reader::new(&[0x00, 0x05, b'a'], 10);
        assert_eq!(reader.offset(), 7);
        assert!(reader.string("").is_err());
        assert!(reader.binary("").is_err());
        assert!(reader.u32("").is_err());
        assert!(reader.sub(4, "").is_err());
        assert_eq!(reader.offset(), 7);
        assert_eq!(reader.u16(""), Ok(5));
        assert_eq!(reader.malformed("x").offset, 9);
    }

    #[test]
    fn fields_that_are_too_long_are_not_measured() {
        assert_eq!(field_len(&[0; 65_535]), Ok(65_537));
        assert_eq!(field_len(&[0; 65_536]), Err(EncodeError::FieldTooLong));
        assert_eq!(string_len("a\0b"), Err(EncodeError::NulCharacter));
        assert_eq!(block_len(MAX_VARINT as usize), Ok(MAX_VARINT as usize + 4));
        assert_eq!(
            block_len(MAX_VARINT as usize + 1),
            Err(EncodeError::PacketTooLarge)
        );
    }
}
