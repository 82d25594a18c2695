//! The packets of a run: PUBLISH packets of one QoS and topic, one behind the other, which have the same
//! bytes on the way in and on the way out, but for their packet identifiers. Parsing only: `hub/run`
//! forwards them.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, QoS, Version};

use crate::message::{MessageRef, SHARE_FROM};

/// Bytes of one run of messages that are kept: what the outbox of a receiver that keeps up has room
/// for.
const LONGEST: usize = 64 * 1024;

/// Packets of one QoS and topic, one behind the other.
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) packets: u64,
    /// Bytes of all payloads.
    pub(crate) payloads: u64,
    pub(crate) qos: QoS,
    /// The buffer it was read into.
    pub(crate) backing: Option<&'a Bytes>,
    version: Version,
    pub(crate) topic: &'a Arc<str>,
}

/// One packet of a run.
pub(crate) struct Piece<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the packet identifier is; 0 at QoS 0.
    pub(crate) packet_id_at: usize,
    pub(crate) packet_id: u16,
    payload: &'a [u8],
}

/// Which packets could be part of a run.
pub(crate) trait Lengths {
    /// The packet at the start of `bytes`, if it could be part of a run.
    fn piece<'a>(bytes: &'a [u8], qos: QoS, version: Version, topic: &str) -> Option<Piece<'a>>;
}

/// Packets below 16 KiB.
pub(crate) struct Short;

impl Lengths for Short {
    #[inline(always)]
    fn piece<'a>(bytes: &'a [u8], qos: QoS, version: Version, topic: &str) -> Option<Piece<'a>> {
        let (header, length, at) = match *bytes {
            [header, a @ ..0x80, ..] => (header, usize::from(a), 2),
            [header, a, b @ 1..0x80, ..] => {
                (header, usize::from(a & 0x7F) | usize::from(b) << 7, 3)
            }
            // A length that is not minimal is an error (MQTT-1.5.5-1).
            _ => return None,
        };

        Piece::behind(bytes, (header, length, at), qos, version, topic)
    }
}

/// Packets below 2 MiB.
pub(crate) struct Any;

impl Lengths for Any {
    #[inline(always)]
    fn piece<'a>(bytes: &'a [u8], qos: QoS, version: Version, topic: &str) -> Option<Piece<'a>> {
        match *bytes {
            [header, a, b, c @ 1..0x80, ..] if a >= 0x80 && b >= 0x80 => {
                let low = usize::from(a & 0x7F) | usize::from(b & 0x7F) << 7;
                let length = low | usize::from(c) << 14;
                Piece::behind(bytes, (header, length, 4), qos, version, topic)
            }
            _ => Short::piece(bytes, qos, version, topic),
        }
    }
}

/// The packets of a run.
pub(crate) struct Pieces<'a, L> {
    rest: &'a [u8],
    qos: QoS,
    version: Version,
    topic: &'a str,
    lengths: PhantomData<L>,
}

impl<'a, L: Lengths> Iterator for Pieces<'a, L> {
    type Item = Piece<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Piece<'a>> {
        let piece = L::piece(self.rest, self.qos, self.version, self.topic)?;
        self.rest = self.rest.get(piece.bytes.len()..)?;

        Some(piece)
    }
}

impl<'a> Piece<'a> {
    /// The packet with this first byte, remaining length and place of the rest.
    #[inline(always)]
    fn behind(
        bytes: &'a [u8],
        (header, length, at): (u8, usize, usize),
        qos: QoS,
        version: Version,
        topic: &str,
    ) -> Option<Self> {
        // Neither DUP nor RETAIN.
        if header != 0x30 | (qos as u8) << 1 {
            return None;
        }

        let body = bytes.get(at..at + length)?;
        let (topic_len, rest) = body.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(*topic_len)) != topic.len() {
            return None;
        }

        let mut rest = rest.strip_prefix(topic.as_bytes())?;
        let (mut packet_id, mut packet_id_at) = (0, 0);
        if qos != QoS::AtMostOnce {
            let (id, behind) = rest.split_first_chunk()?;
            packet_id_at = at + 2 + topic.len();
            packet_id = u16::from_be_bytes(*id);
            rest = behind;
            if packet_id == 0 {
                return None;
            }
        }

        let payload = match version {
            Version::V5 => rest.strip_prefix(&[0])?, // no properties
            Version::V31 | Version::V311 => rest,
        };

        Some(Self {
            bytes: bytes.get(..at + length)?,
            packet_id_at,
            packet_id,
            payload,
        })
    }
}

impl Piece<'_> {
    /// Whether a run of messages that are kept goes on with it after that many bytes. A larger one
    /// takes its buffer along.
    fn may_be_kept(&self, behind: usize) -> bool {
        behind + self.bytes.len() <= LONGEST && self.payload.len() < SHARE_FROM
    }
}

impl<'a> Run<'a> {
    /// The run at the start of `input`, of packets that are not longer than `longest` and that `take`
    /// takes.
    #[inline(always)]
    pub(crate) fn new<L: Lengths>(
        input: &'a [u8],
        version: Version,
        topic: &'a Arc<str>,
        longest: usize,
        mut take: impl FnMut(&Piece<'a>) -> bool,
    ) -> Self {
        let qos = QoS::from_u8(input.first().map_or(0, |header| header >> 1 & 3));
        let mut run = Self {
            bytes: &[],
            packets: 0,
            payloads: 0,
            qos: qos.unwrap_or_default(),
            backing: None,
            version,
            topic,
        };

        let mut end = 0;
        while let Some(rest) = input.get(end..)
            && let Some(piece) = L::piece(rest, run.qos, version, topic)
            && piece.bytes.len() <= longest
            && (run.qos == QoS::AtMostOnce || piece.may_be_kept(end))
            && take(&piece)
        {
            end += piece.bytes.len();
            run.packets += 1;
            run.payloads += piece.payload.len() as u64;
        }
        run.bytes = input.get(..end).unwrap_or_default();
        run
    }

    /// Whether these bytes are what a receiver of this version gets.
    pub(crate) fn suits(&self, version: Version) -> bool {
        (self.version == Version::V5) == (version == Version::V5)
    }

    /// Its packets, of a run of messages that may be kept.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        self.parsed::<Short>()
    }

    /// Its packets, of any run.
    pub(crate) fn pieces_of_any_length(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
        self.parsed::<Any>()
    }

    fn parsed<L: Lengths>(&self) -> Pieces<'a, L> {
        Pieces {
            rest: self.bytes,
            qos: self.qos,
            version: self.version,
            topic: self.topic,
            lengths: PhantomData,
        }
    }

    /// A run of one packet.
    pub(crate) fn of(&self, piece: &Piece<'a>) -> Self {
        Self {
            bytes: piece.bytes,
            packets: 1,
            payloads: piece.payload.len() as u64,
            ..*self
        }
    }

    /// Its part of the buffer it was read into, if it fills half of that: whoever has to wait with it
    /// keeps all of the buffer.
    pub(crate) fn shared(&self) -> Option<Bytes> {
        let backing = self.backing?;
        (self.bytes.len() >= backing.len() / 2).then(|| backing.slice_ref(self.bytes))
    }

    pub(crate) fn message(&self, piece: &Piece<'a>) -> MessageRef<'a> {
        MessageRef {
            topic: self.topic,
            payload: piece.payload,
            backing: self
                .backing
                .filter(|backing| backing.len() == piece.bytes.len()),
            qos: self.qos,
            retain: false,
            expiry: None,
            properties: MessageProperties::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<'a>(input: &'a [u8], version: Version, topic: &'a Arc<str>, longest: usize) -> Run<'a> {
        Run::new::<Any>(input, version, topic, longest, |_| true)
    }

    fn payloads<'a>(run: &Run<'a>) -> Vec<&'a [u8]> {
        run.pieces().map(|piece| piece.payload).collect()
    }

    #[test]
    fn a_run_ends_where_something_else_begins() {
        let topic: Arc<str> = "a".into();
        let same = b"\x30\x05\0\x01axy";
        for other in [
            &b"\x30\x05\0\x01bxy"[..],
            b"\x31\x05\0\x01axy",
            b"\x32\x07\0\x01a\0\x01xy",
            b"\x30\x05\0\x01ax",
            b"\x30",
            b"\x30\x80",
            b"",
            b"\xC0\0",
            b"\x30\x01\0",
        ] {
            let input = [&same[..], same, other].concat();
            let run = run(&input, Version::V311, &topic, 100);
            assert_eq!(
                (run.bytes.len(), run.packets, run.payloads),
                (14, 2, 4),
                "{other:?}"
            );
            assert_eq!(payloads(&run), [b"xy", b"xy"]);
        }

        assert_eq!(run(same, Version::V311, &topic, 6).packets, 0);

        // 5.0: only without properties.
        let plain = b"\x30\x05\0\x01a\0y";
        assert_eq!(payloads(&run(plain, Version::V5, &topic, 9)), [b"y"]);

        let indicator = b"\x30\x06\0\x01a\x02\x01\x01";
        assert_eq!(run(indicator, Version::V5, &topic, 9).packets, 0);
    }

    #[test]
    fn packet_identifiers_of_a_run() {
        let topic: Arc<str> = "a".into();
        let input = b"\x32\x06\0\x01a\x12\x34x\x32\x06\0\x01a\0\x01y\x32\x06\0\x01a\0\0z";
        let run = run(input, Version::V311, &topic, 100);
        let ids: Vec<_> = run
            .pieces()
            .map(|p| (p.packet_id, p.packet_id_at))
            .collect();
        assert_eq!(ids, [(0x1234, 5), (1, 5)]);
        assert_eq!(payloads(&run), [b"x", b"y"]);
    }

    #[test]
    fn only_messages_that_nobody_keeps_may_be_long() {
        let topic: Arc<str> = "a".into();
        for (length, header) in [
            (0x3FFF, &b"\xFF\x7F"[..]),
            (0x4000, b"\x80\x80\x01"),
            (0x1F_FFFF, b"\xFF\xFF\x7F"),
        ] {
            let packet = [b"\x30", header, b"\0\x01a", &vec![7; length - 3]].concat();
            let input = [&packet[..], &packet, &packet[..packet.len() - 1]].concat();
            let run = run(&input, Version::V311, &topic, packet.len());
            assert_eq!((run.bytes.len(), run.packets), (2 * packet.len(), 2));
            let seen: Vec<_> = run
                .pieces_of_any_length()
                .map(|p| p.payload.len())
                .collect();
            assert_eq!(seen, [length - 3; 2]);
            let kept = Run::new::<Short>(&input, Version::V311, &topic, packet.len(), |_| true);
            assert_eq!(kept.packets, if length < 0x4000 { 2 } else { 0 });
        }

        // Not minimal, and too long.
        for header in [&b"\x85\x80\0"[..], b"\x85\0", b"\x80\x80\x80\x01"] {
            let input = [b"\x30", header, b"\0\x01axy"].concat();
            assert_eq!(run(&input, Version::V311, &topic, 1 << 20).packets, 0);
        }
    }
}
