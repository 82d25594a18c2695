//! The payload of a kept message.

use std::sync::Arc;

use bytes::Bytes;

use super::{MessageRef, SHARE_FROM};
use crate::budget::Budget;

/// Payloads up to this size stand in the message itself, without memory of their own.
const INLINE: usize = 70;

/// The payload of a message that is kept.
#[derive(Clone)]
pub(crate) enum Payload {
    Inline { len: u8, bytes: [u8; INLINE] },
    Shared(Bytes),
}

impl Payload {
    pub(crate) const EMPTY: Self = Self::Inline {
        len: 0,
        bytes: [0; INLINE],
    };

    /// Takes on what a message carries. A buffer of its own, and a large payload, is shared; anything
    /// else is copied, and a small one needs no memory for that.
    pub(crate) fn set(&mut self, message: &MessageRef<'_>, budget: Option<&Arc<Budget>>) {
        let length = u8::try_from(message.payload.len()).unwrap_or(u8::MAX);
        if usize::from(length) > INLINE || message.has_own_buffer() {
            *self = Self::Shared(message.share_payload(budget));
            return;
        }
        if let Self::Shared(_) = self {
            *self = Self::EMPTY;
        }
        if let Self::Inline { len, bytes } = self
            && let Some(room) = bytes.get_mut(..message.payload.len())
        {
            room.copy_from_slice(message.payload);
            *len = length;
        }
    }

    /// The same payload; a large one is charged to `budget`.
    pub(crate) fn charged(&self, budget: Option<&Arc<Budget>>) -> Self {
        match (self, budget) {
            (Self::Shared(bytes), Some(budget)) if bytes.len() >= SHARE_FROM => {
                Self::Shared(budget.share(bytes.clone()))
            }
            _ => self.clone(),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Inline { len, .. } => *len = 0,
            Self::Shared(_) => *self = Self::EMPTY,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(bytes) => bytes,
        }
    }

    /// The buffer of its own, if it has one.
    pub(crate) fn shared(&self) -> Option<&Bytes> {
        match self {
            Self::Inline { .. } => None,
            Self::Shared(bytes) => Some(bytes),
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Inline { .. } => Bytes::copy_from_slice(self.as_slice()),
            Self::Shared(bytes) => bytes.clone(),
        }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.as_slice().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;

    #[test]
    fn small_payloads_are_copied_and_buffers_of_their_own_are_shared() {
        let message = OwnedMessage::new("t", "");
        let mut kept = Payload::EMPTY;

        for size in [0, 1, INLINE - 1, INLINE, INLINE + 1, 255, 256, 300, 8192] {
            let source = Bytes::from(vec![7; size + 1]);
            let payload = source.slice(1..);
            let parts = |backing| MessageRef {
                payload: &payload,
                backing,
                ..message.parts()
            };
            for (backing, shares) in [
                (None, size > INLINE),
                (Some(&source), size > INLINE),
                (Some(&payload), true),
            ] {
                kept.set(&parts(backing), None);
                assert_eq!(kept.as_slice(), &payload[..]);
                assert_eq!(kept.to_bytes(), payload);
                assert_eq!(kept.shared().is_some(), shares);
            }
            kept.set(&parts(Some(&payload)), None);
            assert!(size == 0 || kept.as_slice().as_ptr() == payload.as_ptr());
        }
    }
}
