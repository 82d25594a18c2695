//! Runs of QoS 0 messages that leave as they came.
//!
//! A PUBLISH at QoS 0 without RETAIN and without properties has the same bytes on the way in and on
//! the way out. When the topic is one that its publisher has used before, so that all checks have
//! been made, and nobody wants to look at the messages, a whole run of such packets is copied at
//! once. Everything else takes the ordinary way, and so does each receiver that needs something
//! else: the run is then offered to it message by message.

use std::sync::Arc;

use midge_codec::{MessageProperties, QoS, Version};

use super::Hub;
use super::publish::{Passage, Publisher, Route, RouteCache};
use crate::batch::Batch;
use crate::event::EventMask;
use crate::hooks::HookSet;
use crate::message::{MessageRef, SHARE_FROM};
use crate::router::{SubTarget, Subscriber, Target};
use crate::session::Session;

/// Bytes of one run: what the outbox of a receiver that keeps up has room for.
const LONGEST: usize = 64 * 1024;
/// QoS 0, neither DUP nor RETAIN.
const HEADER: u8 = 0x30;

/// Packets with the same topic, one behind the other.
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) packets: u64,
    /// Bytes of all payloads.
    pub(crate) payloads: u64,
    version: Version,
    topic: &'a str,
}

/// The length and the payload of the packet at the start of `bytes`, if it could be part of a run.
#[inline]
fn packet<'a>(bytes: &'a [u8], version: Version, topic: &str) -> Option<(usize, &'a [u8])> {
    let (length, at) = match *bytes {
        [HEADER, a @ ..0x80, ..] => (usize::from(a), 2),
        [HEADER, a, b @ ..0x80, ..] => (usize::from(a & 0x7F) | usize::from(b) << 7, 3),
        // Longer ones are shared between their receivers, not copied.
        _ => return None,
    };
    let body = bytes.get(at..at + length)?;
    let (topic_len, rest) = body.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*topic_len)) != topic.len() {
        return None;
    }
    let payload = rest.strip_prefix(topic.as_bytes())?;
    let payload = match version {
        Version::V5 => payload.strip_prefix(&[0])?, // no properties
        Version::V31 | Version::V311 => payload,
    };
    (payload.len() < SHARE_FROM).then_some((at + length, payload))
}

impl<'a> Run<'a> {
    fn new(input: &'a [u8], version: Version, topic: &'a str, longest: usize) -> Self {
        let (mut end, mut packets, mut payloads) = (0, 0, 0);
        while let Some(rest) = input.get(end..)
            && let Some((len, payload)) = packet(rest, version, topic)
            && len <= longest
            && end + len <= LONGEST
        {
            end += len;
            packets += 1;
            payloads += payload.len() as u64;
        }
        Self {
            bytes: input.get(..end).unwrap_or_default(),
            packets,
            payloads,
            version,
            topic,
        }
    }

    /// Whether these bytes are what a receiver of this version gets.
    pub(crate) fn suits(&self, version: Version) -> bool {
        (self.version == Version::V5) == (version == Version::V5)
    }

    fn messages(&self) -> impl Iterator<Item = MessageRef<'a>> {
        let (mut rest, version, topic) = (self.bytes, self.version, self.topic);
        std::iter::from_fn(move || {
            let (len, payload) = packet(rest, version, topic)?;
            rest = rest.get(len..)?;
            Some(MessageRef {
                topic,
                payload,
                backing: None,
                qos: QoS::AtMostOnce,
                retain: false,
                expiry: None,
                properties: MessageProperties::default(),
            })
        })
    }
}

/// Whether all receivers get QoS 0 messages as they came.
pub(super) fn is_plain(targets: &[Target]) -> bool {
    targets.iter().all(|target| {
        matches!(
            target,
            Target::One(SubTarget {
                subscriber: Subscriber::Session(_),
                id: 0,
                extra: None,
                ..
            })
        )
    })
}

impl Hub {
    /// Forwards the run at the start of `input`: its length in bytes and in packets, or `None` if
    /// there is none.
    pub(crate) fn forward_run(
        &self,
        publisher: &Arc<Session>,
        version: Version,
        cache: &RouteCache,
        input: &[u8],
        batch: &mut Batch,
    ) -> Option<(usize, u64)> {
        let watched = self.hook_set.has(HookSet::PUBLISHING)
            || batch.wants(EventMask::PUBLISHED.union(EventMask::DELIVERED));
        let route = cache.last().filter(|route| route.plain && !watched)?;
        let longest = self.config().limits.packet_bytes as usize;
        let run = Run::new(input, version, &route.topic, longest);
        if run.packets == 0 {
            return None;
        }
        let router = self.router.read();
        if router.generation() != route.generation {
            return None;
        }
        batch.local.publish_received += run.packets;
        batch.local.publish_bytes_received += run.payloads;
        self.offer_run(publisher, &run, route, batch);
        Some((run.bytes.len(), run.packets))
    }

    fn offer_run(&self, publisher: &Arc<Session>, run: &Run<'_>, route: &Route, batch: &mut Batch) {
        for target in &route.targets {
            if let Target::One(SubTarget {
                subscriber: Subscriber::Session(session),
                ..
            }) = target
                && session.offer_run(run, batch)
            {
                continue;
            }
            let publisher = Publisher::Client(publisher);
            for message in run.messages() {
                let mut passage = Passage::new(message, &publisher, self, batch.now);
                self.offer(target, &mut passage, None, batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_where_something_else_begins() {
        let same = b"\x30\x05\0\x01axy";
        for (version, other) in [
            (Version::V311, &b"\x30\x05\0\x01bxy"[..]),
            (Version::V311, b"\x31\x05\0\x01axy"),
            (Version::V311, b"\x32\x07\0\x01a\0\x01xy"),
            (Version::V311, b"\x30\x05\0\x01ax"),
            (Version::V311, b"\x30"),
            (Version::V311, b"\x30\x80"),
            (Version::V311, b""),
            (Version::V311, b"\xC0\0"),
            (Version::V311, b"\x30\x01\0"),
        ] {
            let input = [&same[..], same, other].concat();
            let run = Run::new(&input, version, "a", 100);
            assert_eq!(
                (run.bytes.len(), run.packets, run.payloads),
                (14, 2, 4),
                "{other:?}"
            );
            assert_eq!(
                run.messages().map(|m| m.payload).collect::<Vec<_>>(),
                [b"xy", b"xy"]
            );
        }
        assert_eq!(Run::new(same, Version::V311, "a", 6).packets, 0);
        // 5.0: only without properties.
        assert_eq!(
            Run::new(b"\x30\x05\0\x01a\0y", Version::V5, "a", 9).payloads,
            1
        );
        assert_eq!(
            Run::new(b"\x30\x06\0\x01a\x02\x01\x01", Version::V5, "a", 9).packets,
            0
        );
    }
}
