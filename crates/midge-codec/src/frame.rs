//! Where a packet ends: its fixed header (section 2.1), before its content is looked at.

use crate::wire::{Reader, Varint, varint};
use crate::{DecodeError, ReasonCode};

/// How many entries a packet may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// User properties of a packet. Those of a will are counted for themselves.
    pub user_properties: u32,
    /// Topic filters of SUBSCRIBE or UNSUBSCRIBE.
    pub filters: u32,
}

impl DecodeLimits {
    /// As many as fit into a packet.
    pub const NONE: Self = Self {
        user_properties: u32::MAX,
        filters: u32::MAX,
    };
}

/// One packet whose end is known, but whose content has not been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPacket<'a> {
    /// First byte: packet type and flags.
    pub header: u8,
    /// Everything behind the remaining length.
    pub body: &'a [u8],
    /// Length of the whole packet, fixed header included.
    pub len: usize,
}

impl<'a> RawPacket<'a> {
    #[inline]
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader::new(self.body, self.len)
    }

    /// Low four bits of the header.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        self.header & 0x0F
    }

    /// Checks flags that have a fixed value (MQTT-2.1.3-1, MQTT-2.2.2-2).
    #[inline]
    pub(crate) fn expect_flags(&self, flags: u8) -> Result<(), DecodeError> {
        if self.flags() == flags {
            Ok(())
        } else {
            Err(self.bad_flags())
        }
    }

    #[cold]
    pub(crate) fn bad_flags(&self) -> DecodeError {
        DecodeError {
            what: "fixed header: flags",
            offset: 0,
            reason: ReasonCode::MalformedPacket,
        }
    }

    #[cold]
    pub(crate) fn error(&self, what: &'static str, reason: ReasonCode) -> DecodeError {
        DecodeError {
            what,
            offset: 0,
            reason,
        }
    }
}

/// Splits the first packet off `bytes`; it ends at [`RawPacket::len`]. `None` means that more bytes
/// are needed.
///
/// `max` is the length of the longest packet that is taken, fixed header included. A longer one is
/// refused as soon as its length is there (MQTT-3.2.2-15), and so is an ill-formed length
/// (MQTT-1.5.5-1): the body of a packet that will not be read must not be waited for.
#[inline]
pub fn split(bytes: &[u8], max: u32) -> Result<Option<RawPacket<'_>>, DecodeError> {
    let Some((&header, tail)) = bytes.split_first() else {
        return Ok(None);
    };

    let (remaining, tail) = match varint(tail) {
        Varint::Value(remaining, tail) => (remaining as usize, tail),
        Varint::Partial => return Ok(None),
        Varint::Bad => {
            return Err(DecodeError {
                what: "remaining length: ill-formed",
                offset: 1,
                reason: ReasonCode::MalformedPacket,
            });
        }
    };

    let len = bytes.len() - tail.len() + remaining;
    if len > max as usize {
        return Err(DecodeError {
            what: "packet: longer than allowed",
            offset: 1,
            reason: ReasonCode::PacketTooLarge,
        });
    }

    Ok(tail
        .get(..remaining)
        .map(|body| RawPacket { header, body, len }))
}

#[cfg(test)]
mod tests {
    use super::split;
    use crate::{DecodeError, ReasonCode};

    fn reason<T>(result: Result<T, DecodeError>) -> Option<ReasonCode> {
        result.err().map(|error| error.reason)
    }

    #[test]
    fn split_is_incremental() {
        let bytes = [0x30, 0x05, 0x00, 0x01, b'a', 1, 2, 0xC0, 0x00];
        for cut in 0..7 {
            assert_eq!(split(&bytes[..cut], 100), Ok(None));
        }
        for end in 7..bytes.len() {
            let raw = split(&bytes[..end], 100)
                .expect("well formed")
                .expect("whole");
            assert_eq!((raw.header, raw.len, raw.body), (0x30, 7, &bytes[2..7]));
        }
    }

    #[test]
    fn mqtt_1_5_5_1_remaining_length_is_minimal() {
        for bytes in [
            &[0xC0, 0x80, 0x00][..],
            &[0x30, 0xFF, 0x80, 0x00],
            &[0x30, 0x80, 0x80, 0x80, 0x00],
        ] {
            assert_eq!(
                reason(split(bytes, u32::MAX)),
                Some(ReasonCode::MalformedPacket)
            );
        }
    }

    #[test]
    fn a_fifth_length_byte_is_not_waited_for() {
        assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF], u32::MAX), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX)),
            Some(ReasonCode::MalformedPacket)
        );
    }

    #[test]
    fn mqtt_3_2_2_15_too_large_before_the_body_is_there() {
        // 127 and 128 bytes behind the header: 129 and 131 bytes in all.
        assert_eq!(split(&[0x30, 0x7F], 129), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0x7F], 128)),
            Some(ReasonCode::PacketTooLarge)
        );
        assert_eq!(split(&[0x30, 0x80, 0x01], 131), Ok(None));
        assert_eq!(
            reason(split(&[0x30, 0x80, 0x01], 130)),
            Some(ReasonCode::PacketTooLarge)
        );
        assert_eq!(
            split(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_460),
            Ok(None)
        );
    }
}
