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
    /// Where the packet identifier is; 0 at QoS 0.
    pub(crate) packet_id_at: usize,
    pub(crate) packet_id: u16,
    payload: &'a [u8],
}

/// Which packets could be part of a run.
pub(crate) trait PacketLengths {
    /// The packet at the start of `bytes`, if it could be part of a run.
    fn packet<'a>(
        bytes: &'a [u8],
        qos: QoS,
        version: Version,
        topic: &str,
    ) -> Option<RunPacket<'a>>;
}

/// Packets below 16 KiB.
pub(crate) struct ShortPackets;

impl PacketLengths for ShortPackets {
    #[inline(always)]
    fn packet<'a>(
        bytes: &'a [u8],
        qos: QoS,
        version: Version,
        topic: &str,
    ) -> Option<RunPacket<'a>> {
        let (header, length, at) = match *bytes {
            [header, a @ ..0x80, ..] => (header, usize::from(a), 2),
            [header, a, b @ 1..0x80, ..] => {
                (header, usize::from(a & 0x7F) | usize::from(b) << 7, 3)
            }
            // A length that is not minimal is an error (MQTT-1.5.5-1).
            _ => return None,
        };

        RunPacket::parse(bytes, (header, length, at), qos, version, topic)
    }
}

/// Packets below 2 MiB.
pub(crate) struct AnyPackets;

impl PacketLengths for AnyPackets {
    #[inline(always)]
    fn packet<'a>(
        bytes: &'a [u8],
        qos: QoS,
        version: Version,
        topic: &str,
    ) -> Option<RunPacket<'a>> {
        match *bytes {
            [header, a, b, c @ 1..0x80, ..] if a >= 0x80 && b >= 0x80 => {
                let low = usize::from(a & 0x7F) | usize::from(b & 0x7F) << 7;
                let length = low | usize::from(c) << 14;
                RunPacket::parse(bytes, (header, length, 4), qos, version, topic)
            }
            _ => ShortPackets::packet(bytes, qos, version, topic),
        }
    }
}

/// The packets of a run.
pub(crate) struct RunPackets<'a, L> {
    rest: &'a [u8],
    qos: QoS,
    version: Version,
    topic: &'a str,
    lengths: PhantomData<L>,
}

impl<'a, L: PacketLengths> Iterator for RunPackets<'a, L> {
    type Item = RunPacket<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<RunPacket<'a>> {
        let packet = L::packet(self.rest, self.qos, self.version, self.topic)?;
        self.rest = self.rest.get(packet.bytes.len()..)?;

        Some(packet)
    }
}

impl<'a> RunPacket<'a> {
    /// The packet with this first byte, remaining length and place of the rest.
    #[inline(always)]
    fn parse(
        bytes: &'a [u8],
        (header, length, at): (u8, usize, usize),
        qos: QoS,
        version: Version,
        topic: &str,
    ) -> Option<Self> {
        // Neither DUP nor RETAIN.
        if header != PUBLISH | (qos as u8) << 1 {
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

impl RunPacket<'_> {
    /// Whether a run of messages that are kept goes on with it after that many bytes. A larger one
    /// takes its buffer along.
    fn may_be_kept(&self, behind: usize) -> bool {
        behind + self.bytes.len() <= LONGEST && self.payload.len() < SHARE_FROM
    }
}

impl<'a> PublishRun<'a> {
    /// The run at the start of `input`, of packets that are not longer than `longest` and that `take`
    /// takes.
    #[inline(always)]
    pub(crate) fn new<L: PacketLengths>(
        input: &'a [u8],
        version: Version,
        topic: &'a Arc<str>,
        longest: usize,
        mut take: impl FnMut(&RunPacket<'a>) -> bool,
    ) -> Self {
        let qos = QoS::from_u8(input.first().map_or(0, |header| header >> 1 & 3));
        let mut run = Self {
            bytes: &[],
            count: 0,
            payload_bytes: 0,
            qos: qos.unwrap_or_default(),
            backing: None,
            version,
            topic,
        };

        let mut end = 0;
        while let Some(rest) = input.get(end..)
            && let Some(packet) = L::packet(rest, run.qos, version, topic)
            && packet.bytes.len() <= longest
            && (run.qos == QoS::AtMostOnce || packet.may_be_kept(end))
            && take(&packet)
        {
            end += packet.bytes.len();
            run.count += 1;
            run.payload_bytes += packet.payload.len() as u64;
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
        RunPackets {
            rest: self.bytes,
            qos: self.qos,
            version: self.version,
            topic: self.topic,
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

    /// Its part of the buffer it was read into, if it fills half of that: whoever has to wait with it
    /// keeps all of the buffer.
    pub(crate) fn shared(&self) -> Option<Bytes> {
        let backing = self.backing?;
        (self.bytes.len() >= backing.len() / 2).then(|| backing.slice_ref(self.bytes))
    }

    pub(crate) fn message(&self, packet: &RunPacket<'a>) -> MessageRef<'a> {
        MessageRef {
            topic: self.topic,
            payload: packet.payload,
            backing: self
                .backing
                .filter(|backing| backing.len() == packet.bytes.len()),
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

    fn run<'a>(
        input: &'a [u8],
        version: Version,
        topic: &'a Arc<str>,
        longest: usize,
    ) -> PublishRun<'a> {
        PublishRun::new::<AnyPackets>(input, version, topic, longest, |_| true)
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

        assert_eq!(run(same, Version::V311, &topic, 6).count, 0);

        // 5.0: only without properties.
        let plain = b"\x30\x05\0\x01a\0y";
        assert_eq!(payloads(&run(plain, Version::V5, &topic, 9)), [b"y"]);

        let indicator = b"\x30\x06\0\x01a\x02\x01\x01";
        assert_eq!(run(indicator, Version::V5, &topic, 9).count, 0);
    }

    #[test]
    fn packet_identifiers_of_a_run() {
        let topic: Arc<str> = "a".into();
        let input = b"\x32\x06\0\x01a\x12\x34x\x32\x06\0\x01a\0\x01y\x32\x06\0\x01a\0\0z";
        let run = run(input, Version::V311, &topic, 100);
        let ids: Vec<_> = run
            .packets()
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
            assert_eq!((run.bytes.len(), run.count), (2 * packet.len(), 2));
            let seen: Vec<_> = run
                .packets_of_any_length()
                .map(|p| p.payload.len())
                .collect();
            assert_eq!(seen, [length - 3; 2]);
            let kept = PublishRun::new::<ShortPackets>(
                &input,
                Version::V311,
                &topic,
                packet.len(),
                |_| true,
            );
            assert_eq!(kept.count, if length < 0x4000 { 2 } else { 0 });
        }

        // Not minimal, and too long.
        for header in [&b"\x85\x80\0"[..], b"\x85\0", b"\x80\x80\x80\x01"] {
            let input = [b"\x30", header, b"\0\x01axy"].concat();
            assert_eq!(run(&input, Version::V311, &topic, 1 << 20).count, 0);
        }
    }
}
