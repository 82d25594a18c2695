//! Runs of messages that leave as they came.
//!
//! A PUBLISH without RETAIN and without properties has the same bytes on the way in and on the way
//! out, but for its packet identifier. When the topic is one that its publisher has used before, so
//! that all checks have been made, and no observer or hook looks at the messages, a whole run of such
//! packets goes through under one lock of each receiver. Everything else takes the ordinary way,
//! and so does each receiver that needs something else: the run, or what is left of it, is then
//! offered to it message by message.

use std::sync::Arc;

use bytes::Bytes;
use midge_codec::{QoS, Version};

use crate::hub::Hub;

use crate::hub::Batch;
use crate::hub::publish::{ClientPublisher, Publisher};
use crate::hub::routed_message::{Kept, RoutedMessage};
use crate::hub::routes::{Route, RouteCache};
use crate::message::{Origin, SMALL_MESSAGE, SharedMessage};
use crate::observer::Observers;
use crate::router::{Candidates, Group, Sub, SubTarget, Subscriber, Target};
use crate::runs::{
    AnyPackets, PUBACK, PUBREC, PublishRun, RunKind, RunPacket, ShortPackets, short_ack,
};
use crate::session::{Link, Session};

/// From this size on several receivers share the bytes of a run: copies would leave the cache before
/// they are written.
const SHARED_RUN: usize = 4 * 1024;

/// Whether a receiver gets messages as they came, or is a shared group, whose members may.
pub(in crate::hub) fn forwards_verbatim(target: &Target) -> bool {
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
enum Unserved {
    /// None of them was asked.
    All,
    /// Their places.
    Some(Vec<usize>),
}

impl Unserved {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Some(unserved) if unserved.is_empty())
    }
}

/// The common part of all messages of a run that are offered one by one.
struct Rest<'a> {
    publisher: &'a Publisher<'a>,
    run: &'a PublishRun<'a>,
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
        let route = self.eligible_route(publisher.routes, qos, batch)?;

        let kind = RunKind {
            qos,
            version: publisher.version,
            topic: &route.topic,
            longest: self.config().limits.packet_bytes as usize,
        };
        let first = match qos {
            QoS::AtMostOnce => kind.first::<AnyPackets>(input)?,
            QoS::AtLeastOnce | QoS::ExactlyOnce => kind.first::<ShortPackets>(input)?,
        };

        let router = self.router.read();
        if !self.is_current(route, publisher.link, &router) {
            return None;
        }

        let run = if qos == QoS::AtMostOnce {
            let mut run = PublishRun::new::<AnyPackets>(&kind, input, first, |_| true);
            run.backing = backing;
            run
        } else if qos == QoS::AtLeastOnce {
            PublishRun::new::<ShortPackets>(&kind, input, first, |packet_id| {
                let answer = short_ack(PUBACK, packet_id);
                batch.replies.extend_from_slice(&answer);
                true
            })
        } else {
            let maximum = publisher.receive_maximum;
            let (session, env) = (publisher.session, &self.env);
            let mut receiving = session.receiving_qos2(publisher.link, maximum, env)?;
            PublishRun::new::<ShortPackets>(&kind, input, first, |packet_id| {
                let is_new = receiving.open(packet_id);
                if is_new {
                    let answer = short_ack(PUBREC, packet_id);
                    batch.replies.extend_from_slice(&answer);
                }
                is_new
            })
        };

        if run.count == 0 {
            return None;
        }

        batch.local.publish_received += run.count;
        batch.local.publish_bytes_received += run.payload_bytes;
        if run.qos != QoS::AtMostOnce {
            batch.local.packets_sent += run.count;
        }

        let observers = &router.observers;
        let whole = self.may_go_whole(&run, route);

        if run.qos == QoS::AtMostOnce {
            let unserved = match whole && !route.grouped {
                true => self.offer_run(&run, route, batch),
                false => Unserved::All,
            };
            if !unserved.is_empty() {
                self.offer_rest(publisher, &run, (route, &unserved), observers, batch);
            }
        } else if whole {
            self.offer_acknowledged_run(publisher.session, &run, route, observers, batch);
        } else {
            for packet in run.packets() {
                let one = run.of(&packet);
                self.offer_acknowledged_run(publisher.session, &one, route, observers, batch);
            }
        }

        Some((run.bytes.len(), run.count))
    }

    /// Whether each receiver may get all of a run before the next one gets any of it: if what one
    /// gets does not depend on what another one got before. Members of shared groups may also have a
    /// subscription of their own, and all share the room for what waits.
    #[inline]
    fn may_go_whole(&self, run: &PublishRun<'_>, route: &Route) -> bool {
        let receivers = route.targets.len();
        if receivers < 2 || run.count < 2 {
            return true;
        }
        let most = run.bytes.len() + run.count as usize * SMALL_MESSAGE;
        !route.grouped && self.env.has_no_room(most * receivers).is_none()
    }

    /// Offers a run to each receiver; those that do not take it as a whole come back.
    fn offer_run(&self, run: &PublishRun<'_>, route: &Route, batch: &mut Batch) -> Unserved {
        let worth_a_copy = route.targets.len() > 1 && run.bytes.len() >= SHARED_RUN;
        let shared = run
            .shared()
            .or_else(|| worth_a_copy.then(|| Bytes::copy_from_slice(run.bytes)));
        let mut unserved = Vec::new();
        for (at, target) in route.targets.iter().enumerate() {
            let taken = session_of(target).is_some_and(|(session, _)| {
                session
                    .guard(&self.env, batch)
                    .offer_run(run, shared.as_ref())
            });
            if !taken {
                unserved.push(at);
            }
        }
        Unserved::Some(unserved)
    }

    /// Offers the messages of a run one by one, each to the receivers that did not take the run, as
    /// it is done for one that came alone.
    fn offer_rest(
        &self,
        publisher: &RunPublisher<'_>,
        run: &PublishRun<'_>,
        (route, unserved): (&Route, &Unserved),
        observers: &Observers,
        batch: &mut Batch,
    ) {
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
        for packet in run.packets_of_any_length() {
            // Made for the first receiver that does not take the message as it came.
            let mut routed = None;

            match unserved {
                Unserved::All => {
                    let one = run.of(&packet);
                    for target in route.targets.iter() {
                        if let Some(untaken) = self.offer_as_it_came(target, &one, batch) {
                            self.offer_untaken(&rest, &packet, untaken, &mut routed, batch);
                        }
                    }
                }
                Unserved::Some(unserved) => {
                    for target in unserved.iter().filter_map(|at| route.targets.get(*at)) {
                        let untaken = Untaken::Target(target);
                        self.offer_untaken(&rest, &packet, untaken, &mut routed, batch);
                    }
                }
            }

            if let Some(routed) = &mut routed {
                routed.end(batch);
            }
        }
    }

    /// Offers one message of a run as it is done for one that came alone.
    #[inline(never)]
    fn offer_untaken<'a>(
        &'a self,
        rest: &Rest<'a>,
        packet: &RunPacket<'a>,
        untaken: Untaken<'_>,
        routed: &mut Option<RoutedMessage<'a>>,
        batch: &mut Batch,
    ) {
        let routed = routed.get_or_insert_with(|| {
            let message = rest.run.message(packet);
            let mut routed = RoutedMessage::begin(&message, rest.publisher, self, batch);
            routed.receivers = rest.route.targets.len();
            let route = rest.route;
            routed.topic = route.needs_shared_message.then(|| route.topic.clone());
            routed
        });

        let mut offering = self.offering(routed, rest.observers, batch);
        match untaken {
            Untaken::Target(target) => offering.offer(target),
            Untaken::Members(group, candidates) => offering.offer_members(group, &candidates),
        }
    }

    /// Offers one message to one receiver, or to the next member of a shared group, that takes it as
    /// it came; else it comes back.
    fn offer_as_it_came<'r>(
        &self,
        target: &'r Target,
        one: &PublishRun<'_>,
        batch: &mut Batch,
    ) -> Option<Untaken<'r>> {
        let shared = one.shared();
        let mut takes = |session: &Arc<Session>| {
            session
                .guard(&self.env, batch)
                .offer_run(one, shared.as_ref())
        };

        if let Target::Group(group) = target {
            let candidates = group.candidates();
            let taken = next_member(&candidates).is_some_and(|(session, _)| takes(session));
            (!taken).then_some(Untaken::Members(group, candidates))
        } else {
            let taken = session_of(target).is_some_and(|(session, _)| takes(session));
            (!taken).then_some(Untaken::Target(target))
        }
    }

    fn offer_acknowledged_run(
        &self,
        publisher: &Arc<Session>,
        run: &PublishRun<'_>,
        route: &Route,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        let mut kept = std::mem::take(&mut batch.kept);
        let first = self.next_message_ids(run.count);
        let account = self.account(route.targets.len());
        let mut message = run.without_payload();
        kept.extend(run.packets().zip(first..).map(|(packet, id)| {
            let origin = Origin::Client(publisher.client_id.clone());
            message.payload = packet.payload;
            message.keep(Some(run.topic), id, origin, batch.now, None, account)
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
        run: &PublishRun<'_>,
        mut messages: impl Iterator<Item = SharedMessage>,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        if let Target::Group(group) = target {
            return self.offer_kept_to_members(group, run, messages, observers, batch);
        }
        if let Some((session, qos)) = session_of(target)
            && qos >= run.qos
        {
            session
                .guard(&self.env, batch)
                .offer_acknowledged_run(run, None, &mut messages);
        }

        for message in messages {
            let now = batch.now;
            let mut kept = Kept {
                message: &message,
                now,
            };
            self.offering(&mut kept, observers, batch).offer(target);
        }
    }

    /// Each message of the run goes to another member of a shared group.
    fn offer_kept_to_members(
        &self,
        group: &Arc<Group>,
        run: &PublishRun<'_>,
        messages: impl Iterator<Item = SharedMessage>,
        observers: &Observers,
        batch: &mut Batch,
    ) {
        for (packet, message) in run.packets().zip(messages) {
            let candidates = group.candidates();
            let mut message = Some(message).into_iter();

            if let Some((session, qos)) = next_member(&candidates)
                && qos >= run.qos
            {
                let (run, extra) = (run.of(&packet), Some(group.extra()));
                session
                    .guard(&self.env, batch)
                    .offer_acknowledged_run(&run, extra, &mut message);
            }
            for message in message {
                let now = batch.now;
                let mut kept = Kept {
                    message: &message,
                    now,
                };
                self.offering(&mut kept, observers, batch)
                    .offer_members(group, &candidates);
            }
        }
    }
}

/// The session that is next in a shared group, if it gets messages as they came.
fn next_member(candidates: &Candidates) -> Option<(&Arc<Session>, QoS)> {
    match candidates.first.as_ref()? {
        first @ Sub {
            subscriber: Subscriber::Session(session),
            id: 0,
            ..
        } => Some((session, first.qos())),
        _ => None,
    }
}

fn session_of(target: &Target) -> Option<(&Arc<Session>, QoS)> {
    match target {
        Target::One(SubTarget {
            subscriber: Subscriber::Session(session),
            qos,
            ..
        }) => Some((session, *qos)),
        _ => None,
    }
}
