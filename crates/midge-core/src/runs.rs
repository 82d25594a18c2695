//! Packets that come in a row and are recognized by their bytes: PUBLISH packets of one QoS and topic,
//! which leave as they came but for their packet identifiers, and acknowledgements without reason code.
//! Parsing only: `hub/fast_path` and `session/fast_path` handle them.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, QoS, Version};

use crate::message::{MessageRef, SHARE_FROM};

/// First byte of a PUBLISH at QoS 0 with neither DUP nor RETAIN; the QoS stands in bits 1 and 2.
pub(crate) const PUBLISH: u8 = 0x30;
/// First byte of PUBACK.
pub(crate) const PUBACK: u8 = 0x40;
/// First byte of PUBREC.
pub(crate) const PUBREC: u8 = 0x50;
/// First byte of PUBREL.
pub(crate) const PUBREL: u8 = 0x62;
/// First byte of PUBCOMP.
pub(crate) const PUBCOMP: u8 = 0x70;

/// An acknowledgement of success, the same in all versions of the protocol.
#[inline]
pub(crate) fn short_ack(first_byte: u8, packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [first_byte, 2, high, low]
}

/// Bytes of one run of messages that are kept: what the outbox of a receiver that keeps up has room
/// for.
const LONGEST: usize = 64 * 1024;

/// Packets of one QoS and topic, one behind the other.
pub(crate) struct PublishRun<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) count: u64,
    /// Bytes of all payloads together.
    pub(crate) payload_bytes: u64,
    pub(crate) qos: QoS,
    /// The buffer it was read into.
    pub(crate) backing: Option<&'a Bytes>,
    version: Version,
    pub(crate) topic: &'a Arc<str>,
}

/// One packet of a run.
pub(crate) struct RunPacket<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the packet identifier is, if it has one.
    pub(crate) packet_id_at: usize,
    pub(crate) payload: &'a [u8],
}

/// How long the packets of a run may be.
pub(crate) trait PacketLengths {
    /// Remaining length of the packet at the start of `bytes`, and where what it counts begins. A
    /// length that is not minimal is an error (MQTT-1.5.5-1).
    fn remaining(bytes: &[u8]) -> Option<(usize, usize)>;
}

/// Packets below 16 KiB.
pub(crate) struct ShortPackets;

impl PacketLengths for ShortPackets {
    #[inline(always)]
    fn remaining(bytes: &[u8]) -> Option<(usize, usize)> {
        match *bytes {
            [_, a @ ..0x80, ..] => Some((usize::from(a), 2)),
            [_, a, b @ 1..0x80, ..] => Some((usize::from(a & 0x7F) | usize::from(b) << 7, 3)),
            _ => None,
        }
    }
}

/// Packets below 2 MiB.
pub(crate) struct AnyPackets;

impl PacketLengths for AnyPackets {
    #[inline(always)]
    fn remaining(bytes: &[u8]) -> Option<(usize, usize)> {
        ShortPackets::remaining(bytes).or_else(|| match *bytes {
            [_, a @ 0x80..=0xFF, b @ 0x80..=0xFF, c @ 1..0x80, ..] => {
                let low = usize::from(a & 0x7F) | usize::from(b & 0x7F) << 7;
                Some((low | usize::from(c) << 14, 4))
            }
            _ => None,
        })
    }
}

/// The packets of a run, which were compared when it was made: only their lengths are read again.
pub(crate) struct RunPackets<'a, L> {
    rest: &'a [u8],
    /// From the end of the remaining length to the packet identifier, and to the payload.
    before_id: usize,
    before_payload: usize,
    lengths: PhantomData<L>,
}

impl<'a, L: PacketLengths> Iterator for RunPackets<'a, L> {
    type Item = RunPacket<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<RunPacket<'a>> {
        let (length, at) = L::remaining(self.rest)?;
        let (bytes, rest) = self.rest.split_at_checked(at + length)?;
        self.rest = rest;

        Some(RunPacket {
            bytes,
            packet_id_at: at + self.before_id,
            payload: bytes.get(at + self.before_payload..)?,
        })
    }
}

/// The common part of the packets of a run.
#[derive(Clone, Copy)]
pub(crate) struct RunKind<'a> {
    pub(crate) qos: QoS,
    pub(crate) version: Version,
    pub(crate) topic: &'a Arc<str>,
    /// Bytes of the longest packet that is taken.
    pub(crate) longest: usize,
}

impl RunKind<'_> {
    /// The packet at the start of `input`, if it is of this kind, with its packet identifier, 0 at
    /// QoS 0.
    #[inline(always)]
    pub(crate) fn first<'a, L: PacketLengths>(
        &self,
        input: &'a [u8],
    ) -> Option<(RunPacket<'a>, u16)> {
        let (length, at) = L::remaining(input)?;
        // Neither DUP nor RETAIN.
        if *input.first()? != PUBLISH | (self.qos as u8) << 1 || at + length > self.longest {
            return None;
        }

        let bytes = input.get(..at + length)?;
        let (topic_len, rest) = bytes.get(at..)?.split_first_chunk()?;
        if usize::from(u16::from_be_bytes(*topic_len)) != self.topic.len() {
            return None;
        }

        let mut rest = rest.strip_prefix(self.topic.as_bytes())?;
        let mut packet_id = 0;
        if self.qos != QoS::AtMostOnce {
            let (id, behind) = rest.split_first_chunk()?;
            packet_id = u16::from_be_bytes(*id);
            rest = behind;
            if packet_id == 0 {
                return None;
            }
        }

        let payload = match self.version {
            Version::V5 => rest.strip_prefix(&[0])?, // no properties
            Version::V31 | Version::V311 => rest,
        };
        let packet = RunPacket {
            bytes,
            packet_id_at: at + 2 + self.topic.len(),
            payload,
        };
        Some((packet, packet_id))
    }
}

impl RunPacket<'_> {
    /// Whether a run of messages that are kept goes on with it after that many bytes. A larger one
    /// takes its buffer along.
    fn may_be_kept(&self, behind: usize) -> bool {
        behind + self.bytes.len() <= LONGEST && self.payload.len() < SHARE_FROM
    }
}

impl<'a> PublishRun<'a> {
    /// The run at the start of `input`, of packets whose packet identifiers `take` takes. `first`
    /// is what [`RunKind::first`] found there.
    #[inline(always)]
    pub(crate) fn new<L: PacketLengths>(
        kind: &RunKind<'a>,
        input: &'a [u8],
        first: (RunPacket<'a>, u16),
        mut take: impl FnMut(u16) -> bool,
    ) -> Self {
        let mut run = Self {
            bytes: &[],
            count: 0,
            payload_bytes: 0,
            qos: kind.qos,
            backing: None,
            version: kind.version,
            topic: kind.topic,
        };

        let (mut end, mut next) = (0, Some(first));
        while let Some((packet, packet_id)) = next
            && (run.qos == QoS::AtMostOnce || packet.may_be_kept(end))
            && take(packet_id)
        {
            end += packet.bytes.len();
            run.count += 1;
            run.payload_bytes += packet.payload.len() as u64;
            next = input.get(end..).and_then(|rest| kind.first::<L>(rest));
        }
        run.bytes = input.get(..end).unwrap_or_default();
        run
    }

    /// Whether these bytes are what a receiver of this version gets.
    pub(crate) fn suits(&self, version: Version) -> bool {
        (self.version == Version::V5) == (version == Version::V5)
    }

    /// Its packets, of a run of messages that may be kept.
    pub(crate) fn packets(&self) -> impl Iterator<Item = RunPacket<'a>> + use<'a> {
        self.parsed::<ShortPackets>()
    }

    /// Its packets, of any run.
    pub(crate) fn packets_of_any_length(&self) -> impl Iterator<Item = RunPacket<'a>> + use<'a> {
        self.parsed::<AnyPackets>()
    }

    fn parsed<L: PacketLengths>(&self) -> RunPackets<'a, L> {
        let before_id = 2 + self.topic.len();
        let id = match self.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
        };
        let properties = usize::from(self.version == Version::V5);

        RunPackets {
            rest: self.bytes,
            before_id,
            before_payload: before_id + id + properties,
            lengths: PhantomData,
        }
    }

    /// A run of one packet.
    pub(crate) fn of(&self, packet: &RunPacket<'a>) -> Self {
        Self {
            bytes: packet.bytes,
            count: 1,
            payload_bytes: packet.payload.len() as u64,
            ..*self
        }
    }

    /// Its part of the buffer it was read into, if it fills half of that: a receiver that waits with it
    /// keeps all of the buffer.
    pub(crate) fn shared(&self) -> Option<Bytes> {
        let backing = self.backing?;
        (self.bytes.len() >= backing.len() / 2).then(|| backing.slice_ref(self.bytes))
    }

    pub(crate) fn message(&self, packet: &RunPacket<'a>) -> MessageRef<'a> {
        MessageRef {
            payload: packet.payload,
            backing: self
                .backing
                .filter(|backing| backing.len() == packet.bytes.len()),
            ..self.without_payload()
        }
    }

    /// The common part of all its messages.
    pub(crate) fn without_payload(&self) -> MessageRef<'a> {
        MessageRef {
            topic: self.topic,
            payload: &[],
            backing: None,
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

    fn new<'a, L: PacketLengths>(
        input: &'a [u8],
        version: Version,
        topic: &'a Arc<str>,
        longest: usize,
    ) -> Option<PublishRun<'a>> {
        let kind = RunKind {
            qos: QoS::from_u8(input.first()? >> 1 & 3)?,
            version,
            topic,
            longest,
        };
        let first = kind.first::<L>(input)?;
        Some(PublishRun::new::<L>(&kind, input, first, |_| true))
    }

    fn run<'a>(
        input: &'a [u8],
        version: Version,
        topic: &'a Arc<str>,
        longest: usize,
    ) -> PublishRun<'a> {
        new::<AnyPackets>(input, version, topic, longest).expect("a run")
    }

    fn is_run(input: &[u8], version: Version, topic: &Arc<str>, longest: usize) -> bool {
        new::<AnyPackets>(input, version, topic, longest).is_some()
    }

    fn payloads<'a>(run: &PublishRun<'a>) -> Vec<&'a [u8]> {
        run.packets().map(|packet| packet.payload).collect()
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
                (run.bytes.len(), run.count, run.payload_bytes),
                (14, 2, 4),
                "{other:?}"
            );
            assert_eq!(payloads(&run), [b"xy", b"xy"]);
        }

        assert!(!is_run(same, Version::V311, &topic, 6));

        // 5.0: only without properties.
        let plain = b"\x30\x05\0\x01a\0y";
        assert_eq!(payloads(&run(plain, Version::V5, &topic, 9)), [b"y"]);

        let indicator = b"\x30\x06\0\x01a\x02\x01\x01";
        assert!(!is_run(indicator, Version::V5, &topic, 9));
    }

    #[test]
    fn packet_identifiers_of_a_run() {
        let topic: Arc<str> = "a".into();
        let input = b"\x32\x06\0\x01a\x12\x34x\x32\x06\0\x01a\0\x01y\x32\x06\0\x01a\0\0z";
        let run = run(input, Version::V311, &topic, 100);
        let ids: Vec<_> = run
            .packets()
            .map(|p| (&p.bytes[p.packet_id_at..][..2], p.packet_id_at))
            .collect();
        assert_eq!(ids, [(&[0x12, 0x34][..], 5), (&[0, 1], 5)]);
        assert_eq!(payloads(&run), [b"x", b"y"]);
    }

    #[test]
    fn only_messages_that_are_not_kept_may_be_long() {
        let topic: Arc<str> = "a".into();
        for (length, header) in [
            (0x3FFF, &b"\xFF\x7F"[..]),
            (0x4000, b"\x80\x80\x01"),
            (0x1F_FFFF, b"\xFF\xFF\x7F"),
        ] {
            let packet = [b"\x30", header, b"\0\x01a", &vec![7; length - 3]].concat();
            let input = [&packet[..], &packet, &packet[..packet.len() - 1]].concat();
            let run = run(&input, Version::V311, &topic, packet.len());
            assert_eq!((run.bytes.len(), run.count), (2 * packet.len(), 2));
            let seen: Vec<_> = run
                .packets_of_any_length()
                .map(|p| p.payload.len())
                .collect();
            assert_eq!(seen, [length - 3; 2]);
            let kept = new::<ShortPackets>(&input, Version::V311, &topic, packet.len());
            let packets = kept.map(|run| run.count);
            assert_eq!(packets, (length < 0x4000).then_some(2));
        }

        // Not minimal, and too long.
        for header in [&b"\x85\x80\0"[..], b"\x85\0", b"\x80\x80\x80\x01"] {
            let input = [b"\x30", header, b"\0\x01axy"].concat();
            assert!(!is_run(&input, Version::V311, &topic, 1 << 20));
        }
    }
}
