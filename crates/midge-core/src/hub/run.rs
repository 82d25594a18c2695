//! Runs of messages that leave as they came.
//!
//! A PUBLISH without RETAIN and without properties has the same bytes on the way in and on the way
//! out, but for its packet identifier. When the topic is one that its publisher has used before, so
//! that all checks have been made, and nobody wants to look at the messages, a whole run of such
//! packets goes through under one lock of each receiver. Everything else takes the ordinary way,
//! and so does each receiver that needs something else: the run, or what is left of it, is then
//! offered to it message by message.

use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{MessageProperties, QoS, Version};

use super::Hub;
use super::passage::{Kept, Passage};
use super::publish::{ClientPublisher, Publisher};
use super::routes::{Route, RouteCache};
use crate::batch::Batch;
use crate::link::Link;
use crate::message::{MessageRef, Origin, SHARE_FROM, SMALL_MESSAGE};
use crate::observer::Observers;
use crate::router::{Candidates, Group, Sub, SubTarget, Subscriber, Target};
use crate::session::Session;
use crate::shared_message::SharedMessage;

/// Bytes of one run of messages that are kept: what the outbox of a receiver that keeps up has room
/// for.
const LONGEST: usize = 64 * 1024;
/// From this size on several receivers share the bytes of a run: copies would leave the cache before
/// they are written.
const SHARED_RUN: usize = 4 * 1024;

/// Packets of one QoS and topic, one behind the other.
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) packets: u64,
    /// Bytes of all payloads.
    pub(crate) payloads: u64,
    pub(crate) qos: QoS,
    /// The buffer it was read into.
    backing: Option<&'a Bytes>,
    version: Version,
    topic: &'a Arc<str>,
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
trait Lengths {
    /// The packet at the start of `bytes`, if it could be part of a run.
    fn piece<'a>(bytes: &'a [u8], qos: QoS, version: Version, topic: &str) -> Option<Piece<'a>>;
}

/// Packets below 16 KiB.
struct Short;

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
struct Any;

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
    fn new<L: Lengths>(
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
    fn pieces_of_any_length(&self) -> impl Iterator<Item = Piece<'a>> + use<'a> {
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
    fn of(&self, piece: &Piece<'a>) -> Self {
        Self {
            bytes: piece.bytes,
            packets: 1,
            payloads: piece.payload.len() as u64,
            ..*self
        }
    }

    /// Its part of the buffer it was read into, if it fills half of that: whoever has to wait with it
    /// keeps all of the buffer.
    fn shared(&self) -> Option<Bytes> {
        let backing = self.backing?;
        (self.bytes.len() >= backing.len() / 2).then(|| backing.slice_ref(self.bytes))
    }

    fn message(&self, piece: &Piece<'a>) -> MessageRef<'a> {
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

/// Whether a receiver gets messages as they came, or is a shared group, whose members may.
pub(super) fn is_plain(target: &Target) -> bool {
    matches!(
        target,
        Target::Group(_)
            | Target::One(SubTarget {
                subscriber: Subscriber::Session(_),
                id: 0,
                extra: None,
                ..
            })
    )
}

/// The receivers that have not got a run.
enum Left {
    /// None of them was asked.
    All,
    /// Their places.
    Some(Vec<usize>),
}

impl Left {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Some(left) if left.is_empty())
    }
}

/// What is the same for all messages of a run that are offered one by one.
struct Rest<'a> {
    publisher: &'a Publisher<'a>,
    run: &'a Run<'a>,
    route: &'a Route,
    observers: &'a Observers,
}

/// A receiver that does not take a message as it came.
enum Untaken<'a> {
    /// A receiver of its own.
    Target(&'a Target),
    /// A shared group, and the members of which one is to get the message.
    Members(&'a Arc<Group>, Candidates),
}

/// The publisher of a run.
pub(crate) struct RunPublisher<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) link: &'a Link,
    pub(crate) version: Version,
    pub(crate) routes: &'a RouteCache,
    /// QoS 2 messages that it may have in flight.
    pub(crate) receive_maximum: u16,
}

impl Hub {
    /// Forwards the run at the start of `input` and acknowledges it: its length in bytes and in
    /// packets, or `None` if there is none.
    pub(crate) fn forward_run(
        &self,
        publisher: &RunPublisher<'_>,
        input: &[u8],
        backing: Option<&Bytes>,
        batch: &mut Batch,
    ) -> Option<(usize, u64)> {
        let qos = QoS::from_u8(input.first()? >> 1 & 3).unwrap_or_default();
        let longest = self.config().limits.packet_bytes as usize;
        let router = self.router.read();
        let way = (publisher.link, qos);
        let route = self.short_route(publisher.routes, way, &router, batch)?;
        let (version, topic) = (publisher.version, &route.topic);

        let run = if qos == QoS::AtMostOnce {
            let mut run = Run::new::<Any>(input, version, topic, longest, |_| true);
            run.backing = backing;
            run
        } else if qos == QoS::AtLeastOnce {
            Run::new::<Short>(input, version, topic, longest, |piece| {
                let [a, b] = piece.packet_id.to_be_bytes();
                batch.replies.extend_from_slice(&[0x40, 2, a, b]);
                true
            })
        } else {
            let maximum = publisher.receive_maximum;
            let (session, shared) = (publisher.session, &self.shared);
            let mut receiving = session.receiving_qos2(publisher.link, maximum, shared)?;
            Run::new::<Short>(input, version, topic, longest, |piece| {
                let is_new = receiving.open(piece.packet_id);
                if is_new {
                    let [a, b] = piece.packet_id.to_be_bytes();
                    batch.replies.extend_from_slice(&[0x50, 2, a, b]);
                }
                is_new
            })
        };
        if run.packets == 0 {
            return None;
        }
        batch.local.publish_received += run.packets;
        batch.local.publish_bytes_received += run.payloads;
        if run.qos != QoS::AtMostOnce {
            batch.local.packets_sent += run.packets;
        }
        let observers = &router.observers;
        let whole = self.may_go_whole(&run, route);
        if run.qos == QoS::AtMostOnce {
            let left = match whole && !route.grouped {
                true => self.offer_run(&run, route, batch),
                false => Left::All,
            };
            self.offer_rest(publisher, &run, (route, &left), observers, batch);
        } else if whole {
            self.offer_acknowledged_run(publisher.session, &run, route, observers, batch);
        } else {
            for piece in run.pieces() {
                let one = run.of(&piece);
                self.offer_acknowledged_run(publisher.session, &one, route, observers, batch);
            }
        }
        Some((run.bytes.len(), run.packets))
    }

    /// Whether each receiver may get all of a run before the next one gets any of it: if what one
    /// gets does not depend on what another one got before. Members of shared groups may also have a
    /// subscription of their own, and all share the room for what waits.
    #[inline]
    fn may_go_whole(&self, run: &Run<'_>, route: &Route) -> bool {
        let receivers = route.targets.len();
        if receivers < 2 || run.packets < 2 {
            return true;
        }
        let most = run.bytes.len() + run.packets as usize * SMALL_MESSAGE;
        !route.grouped && self.shared.has_no_room(most * receivers).is_none()
    }

    /// Offers a run to each receiver; those that do not take it as a whole come back.
    fn offer_run(&self, run: &Run<'_>, route: &Route, batch: &mut Batch) -> Left {
        let worth_a_copy = route.targets.len() > 1 && run.bytes.len() >= SHARED_RUN;
        let shared = run
            .shared()
            .or_else(|| worth_a_copy.then(|| Bytes::copy_from_slice(run.bytes)));
        let mut left = Vec::new();
        for (at, target) in route.targets.iter().enumerate() {
            let taken = plain(target).is_some_and(|(session, _)| {
                session.offer_run(run, shared.as_ref(), &self.shared, batch)
            });
            if !taken {
                left.push(at);
            }
        }
        Left::Some(left)
    }

    /// Offers the messages of a run one by one, each to the receivers that did not take the run, as
    /// it is done for one that came alone.
    fn offer_rest(
        &self,
        publisher: &RunPublisher<'_>,
        run: &Run<'_>,
        (route, left): (&Route, &Left),
        observers: &Observers,
        batch: &mut Batch,
    ) {
        if left.is_empty() {
            return;
        }
        let publisher = Publisher::Client(ClientPublisher {
            session: publisher.session,
            link: publisher.link,
            packet_id: None,
        });
        let rest = Rest {
            publisher: &publisher,
            run,
            route,
            observers,
        };
        for piece in run.pieces_of_any_length() {
            // Made for the first receiver that does not take the message as it came.
            let mut passage = None;

            match left {
                Left::All => {
                    let one = run.of(&piece);
                    for target in route.targets.iter() {
                        if let Some(untaken) = self.offer_as_it_came(target, &one, batch) {
                            self.offer_untaken(&rest, &piece, untaken, &mut passage, batch);
                        }
                    }
                }
                Left::Some(left) => {
                    for target in left.iter().filter_map(|at| route.targets.get(*at)) {
                        let untaken = Untaken::Target(target);
                        self.offer_untaken(&rest, &piece, untaken, &mut passage, batch);
                    }
                }
            }

            if let Some(passage) = &mut passage {
                passage.end(batch);
            }
        }
    }

    /// Offers one message of a run as it is done for one that came alone.
    #[inline(never)]
    fn offer_untaken<'a>(
        &'a self,
        rest: &Rest<'a>,
        piece: &Piece<'a>,
        untaken: Untaken<'_>,
        passage: &mut Option<Passage<'a>>,
        batch: &mut Batch,
    ) {
        let passage = passage.get_or_insert_with(|| {
            let message = rest.run.message(piece);
            let mut passage = Passage::begin(message, rest.publisher, self, batch);
            passage.receivers = rest.route.targets.len();
            passage.topic = rest.route.kept.then(|| rest.route.topic.clone());
            passage
        });

        match untaken {
            Untaken::Target(target) => self.offer(target, passage, rest.observers, None, batch),
            Untaken::Members(group, candidates) => {
                self.offer_members(group, &candidates, passage, rest.observers, None, batch);
            }
        }
    }

    /// Offers one message to one receiver, or to the next member of a shared group, that takes it as
    /// it came; else it comes back.
    fn offer_as_it_came<'r>(
        &self,
        target: &'r Target,
        one: &Run<'_>,
        batch: &mut Batch,
    ) -> Option<Untaken<'r>> {
        let shared = one.shared();
        let mut takes =
            |session: &Session| session.offer_run(one, shared.as_ref(), &self.shared, batch);
        if let Target::Group(group) = target {
            let candidates = group.candidates();
            let taken = plain_member(&candidates).is_some_and(|(session, _)| takes(session));
            (!taken).then_some(Untaken::Members(group, candidates))
        } else {
            let taken = plain(target).is_some_and(|(session, _)| takes(session));
            (!taken).then_some(Untaken::Target(target))
        }
    }

    fn offer_acknowledged_run(
        &self,
        publisher: &Arc<Session>,
        run: &Run<'_>,
        route: &Route,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        let mut kept = std::mem::take(&mut batch.kept);
        let first = self.next_message_ids(run.packets);
        let account = self.account(route.targets.len());
        kept.extend(run.pieces().zip(first..).map(|(piece, id)| {
            let origin = Origin::Client(publisher.client_id.clone());
            run.message(&piece)
                .keep(Some(run.topic), id, origin, batch.now, None, account)
        }));
        if let Some((last, others)) = route.targets.split_last() {
            for target in others {
                self.offer_kept(target, run, kept.iter().cloned(), observers, batch);
            }
            self.offer_kept(last, run, kept.drain(..), observers, batch);
        }

        batch.kept = kept;
    }

    /// Offers the messages of a run to one receiver.
    fn offer_kept(
        &self,
        target: &Target,
        run: &Run<'_>,
        mut messages: impl Iterator<Item = SharedMessage>,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        if let Target::Group(group) = target {
            return self.offer_kept_to_members(group, run, messages, observers, batch);
        }
        if let Some((session, qos)) = plain(target)
            && qos >= run.qos
        {
            session.offer_acknowledged_run(run, None, &mut messages, &self.shared, batch);
        }

        for message in messages {
            let now = batch.now;
            let mut kept = Kept {
                message: &message,
                now,
            };
            self.offer(target, &mut kept, observers, None, batch);
        }
    }

    /// Each message of the run goes to another member of a shared group.
    fn offer_kept_to_members(
        &self,
        group: &Arc<Group>,
        run: &Run<'_>,
        messages: impl Iterator<Item = SharedMessage>,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        for (piece, message) in run.pieces().zip(messages) {
            let candidates = group.candidates();
            let mut message = Some(message).into_iter();
            if let Some((session, qos)) = plain_member(&candidates)
                && qos >= run.qos
            {
                let (run, extra) = (run.of(&piece), Some(group.extra()));
                session.offer_acknowledged_run(&run, extra, &mut message, &self.shared, batch);
            }
            for message in message {
                let now = batch.now;
                let mut kept = Kept {
                    message: &message,
                    now,
                };
                self.offer_members(group, &candidates, &mut kept, observers, None, batch);
            }
        }
    }
}

/// The session that is next in a shared group, if it gets messages as they came.
fn plain_member(candidates: &Candidates) -> Option<(&Arc<Session>, QoS)> {
    match candidates.first.as_ref()? {
        first @ Sub {
            subscriber: Subscriber::Session(session),
            id: 0,
            ..
        } => Some((session, first.qos())),
        _ => None,
    }
}

fn plain(target: &Target) -> Option<(&Arc<Session>, QoS)> {
    match target {
        Target::One(SubTarget {
            subscriber: Subscriber::Session(session),
            qos,
            ..
        }) => Some((session, *qos)),
        _ => None,
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
