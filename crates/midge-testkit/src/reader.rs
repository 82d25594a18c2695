//! Bytes of MQTT, taken apart by hand.

/// Walks over bytes; every shortage is an error.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| format!("{count} bytes wanted, {} left", self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, String> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A Variable Byte Integer; a longer form than needed is an error (MQTT-1.5.5-1).
    pub(crate) fn var(&mut self) -> Result<u32, String> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let padded = index > 0 && byte == 0;
                return if padded {
                    Err("a length is not minimal".into())
                } else {
                    Ok(value)
                };
            }
        }
        Err("a length has more than four bytes".into())
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], String> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string: well-formed UTF-8 without U+0000 (MQTT-1.5.4-1, MQTT-1.5.4-2).
    pub(crate) fn text(&mut self) -> Result<String, String> {
        let bytes = self.binary()?;
        let text = std::str::from_utf8(bytes).map_err(|error| format!("bad UTF-8: {error}"))?;
        if text.contains('\0') {
            return Err(format!("U+0000 in {text:?}"));
        }
        Ok(text.to_owned())
    }

    pub(crate) fn id(&mut self) -> Result<u16, String> {
        match self.u16()? {
            0 => Err("packet identifier 0".into()),
            id => Ok(id),
        }
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(format!("{} bytes too many", self.rest.len()))
        }
    }
}
