//! From a publisher to the receivers: hooks that intercept, the retained store, routing.

use std::sync::Arc;

use midge_codec::QoS;

use super::Hub;
use super::routed_message::RoutedMessage;
use super::routes::RouteCache;
use crate::event::{Event, EventMask, Lost, Whom};
use crate::hooks::{FIRST, HookSet, Interception, Refusal};
use crate::hub::Batch;
use crate::message::{MessageRef, Origin, OwnedMessage, Receipt};
use crate::reason::DropReason;
use crate::session::{Deliverable, Due, IdState, Link, Session};
use crate::store::Op;
use crate::time::Tick;

/// Memory for so many receivers is kept.
const KEPT_TARGETS: usize = 1024;

/// The publisher of a message.
#[derive(Clone)]
pub(crate) enum Publisher<'a> {
    Client(ClientPublisher<'a>),
    /// The will of a session.
    Will(&'a Session),
    Other(Origin),
}

/// A connection that publishes.
#[derive(Clone, Copy)]
pub(crate) struct ClientPublisher<'a> {
    pub(crate) session: &'a Arc<Session>,
    pub(crate) link: &'a Link,
    /// Packet identifier of a QoS 2 message: it is in use from the moment of routing on.
    pub(crate) packet_id: Option<u16>,
}

impl Publisher<'_> {
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Client(client) => Origin::Client(client.session.client_id.clone()),
            Self::Will(session) => Origin::Will(session.client_id.clone()),
            Self::Other(origin) => origin.clone(),
        }
    }

    /// The client in whose name the message is published. It does not get the message through
    /// subscriptions with No Local (MQTT-3.8.3-3).
    pub(super) fn client_id(&self) -> Option<&str> {
        match self {
            Self::Client(client) => Some(&client.session.client_id),
            Self::Will(session) => Some(&session.client_id),
            Self::Other(origin) => origin.client_id(),
        }
    }
}

/// Why a message was not published.
pub(crate) enum Unpublished {
    /// A hook refused it.
    Refused(Refusal),
    /// Its connection has ended: the message is as good as never received.
    Detached,
}

/// What a full retained store does with the message that is stored for the topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    /// It stays; the new message was not delivered.
    KeepOld,
    /// It goes: subscribers have seen a newer one.
    RemoveOld,
}

impl Hub {
    /// Publishes: hooks that intercept, then routing. The number of receivers. Authorization has
    /// been settled before.
    pub(crate) fn publish(
        &self,
        publisher: &Publisher<'_>,
        message: &MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        if !self.hooks.intersects(HookSet::INTERCEPT_PUBLISH) {
            return self.route(publisher, message, cache, receipt, batch);
        }

        match self.intercept_publish(&publisher.origin(), message, FIRST) {
            Interception::Forward => self.route(publisher, message, cache, receipt, batch),
            Interception::Replace(other) => {
                if let Err(error) = self.check_parts(&other.parts(), false) {
                    let refusal = Refusal::new(error.reason()).text(error.to_string());
                    return Err(Unpublished::Refused(refusal));
                }
                self.route(publisher, &other.parts(), None, receipt, batch)
            }
            Interception::Drop => {
                self.admit(publisher, batch)?;
                self.drop_published(publisher, message.topic, batch);
                Ok(1) // the publisher is not to know: no "no matching subscribers"
            }
            Interception::Refuse(refusal) => {
                self.drop_published(publisher, message.topic, batch);
                Err(Unpublished::Refused(refusal))
            }
        }
    }

    fn drop_published(&self, publisher: &Publisher<'_>, topic: &str, batch: &mut Batch) {
        let client_id = publisher.client_id().map(Arc::from);
        let whom = match publisher {
            Publisher::Client(client) => client.link.whom(Some(client.session)),
            Publisher::Will(session) => session.whom(),
            Publisher::Other(_) => client_id.as_ref().map_or(Whom::NOBODY, Whom::client),
        };
        let reason = DropReason::RefusedByHook;

        batch.report_drop(&self.env, whom, Lost::untaken(topic), reason);
    }

    /// Whether the connection that a message comes from still has its session; from then on a
    /// repetition of a QoS 2 message is known. Called under the router's read lock, which is kept
    /// until the message has reached its receivers: a takeover waits for that.
    pub(super) fn admit(
        &self,
        publisher: &Publisher<'_>,
        batch: &mut Batch,
    ) -> Result<(), Unpublished> {
        let Publisher::Client(client) = publisher else {
            return Ok(());
        };
        let is_attached = match client.packet_id {
            None => client.link.ended().is_none(),
            Some(packet_id) => {
                let session = client.session;
                session.open_qos2(client.link, packet_id, &self.env, batch) == IdState::Unknown
            }
        };

        if is_attached {
            Ok(())
        } else {
            Err(Unpublished::Detached)
        }
    }

    /// Routes a message; a large payload of the host is charged first.
    #[inline]
    fn route(
        &self,
        publisher: &Publisher<'_>,
        message: &MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        if message.is_large_and_own() {
            self.route_own(publisher, message, cache, receipt, batch)
        } else {
            self.route_charged(publisher, message, cache, receipt, batch)
        }
    }

    #[cold]
    fn route_own(
        &self,
        publisher: &Publisher<'_>,
        message: &MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        let (mut place, mut message) = (None, *message);
        message.charge(&self.env.budget, &mut place);
        self.route_charged(publisher, &message, cache, receipt, batch)
    }

    /// Routes a message: retained store first, then every receiver, all under the router's read
    /// lock, so that nothing overtakes.
    fn route_charged(
        &self,
        publisher: &Publisher<'_>,
        message: &MessageRef<'_>,
        cache: Option<&mut RouteCache>,
        mut receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        let mut routed = RoutedMessage::begin(message, publisher, self, batch);
        routed.tracker = receipt.as_ref().and_then(|receipt| receipt.tracker.clone());

        let matched = if self.asks_per_receiver() {
            self.route_filtered(&mut routed, receipt.as_deref_mut(), batch)
        } else {
            self.route_directly(&mut routed, cache, receipt, batch)
        };

        if let Ok(matched) = matched
            && (batch.wants(EventMask::PUBLISHED) || matches!(publisher, Publisher::Will(_)))
        {
            report_published(&mut routed, matched, batch);
        }
        routed.end(batch);
        matched
    }

    /// Routes a message that no hook has to be asked about.
    #[inline]
    fn route_directly(
        &self,
        routed: &mut RoutedMessage<'_>,
        cache: Option<&mut RouteCache>,
        receipt: Option<&mut Receipt>,
        batch: &mut Batch,
    ) -> Result<usize, Unpublished> {
        let message = routed.message;
        // What a message changes is recorded together: its identifier, the retained one, its receivers.
        let _unit = self.unit(&message);
        let _order = message
            .retain
            .then(|| self.retained_order.lock(message.topic));
        let router = self.router.read();
        self.admit(routed.publisher, batch)?;
        if message.retain {
            self.retain(routed, WhenFull::RemoveOld, batch);
        }

        let client_id = routed.publisher.client_id();
        let mut once = Vec::new();
        let known = match cache {
            Some(cache) => cache.route(message.topic, &router, client_id, &self.env.budget),
            None => Err(router.hash(message.topic)),
        };
        let targets = match known {
            Ok(route) => {
                if message.qos != QoS::AtMostOnce || route.needs_shared_message {
                    routed.topic = Some(route.topic.clone());
                }
                &route.targets[..]
            }
            Err(hash) => {
                once = std::mem::take(&mut batch.targets);
                router.resolve_into(message.topic, hash, client_id, &mut once);
                &once[..]
            }
        };

        routed.receivers = targets.len();
        let mut offering = self.offering(routed, &router.observers, batch);
        offering.receipt = receipt;
        for target in targets {
            offering.offer(target);
        }
        let matched = targets.len();
        drop(router);

        // The memory is used again, unless it is that of a message to very many.
        if (1..=KEPT_TARGETS).contains(&once.capacity()) {
            once.clear();
            batch.targets = once;
        }
        Ok(matched)
    }

    /// Begins the unit of a message, if anything about it may be recorded.
    #[inline]
    pub(super) fn unit<'a>(&'a self, message: &MessageRef<'_>) -> Option<impl Sized + use<'a>> {
        let journal = self.env.journal()?;
        let leaves_traces = message.qos != QoS::AtMostOnce || message.retain;
        leaves_traces.then(|| journal.unit())
    }

    /// Stores or removes the retained message of a topic, which is delivered under the same lock.
    pub(super) fn retain_delivered(&self, routed: &mut RoutedMessage<'_>, batch: &mut Batch) {
        self.retain(routed, WhenFull::RemoveOld, batch);
    }

    /// Stores or removes the retained message of a topic (MQTT-3.3.1-5 to MQTT-3.3.1-7). `false`
    /// if the store is full.
    fn retain(&self, routed: &mut RoutedMessage<'_>, full: WhenFull, batch: &mut Batch) -> bool {
        if routed.message.payload.is_empty() {
            self.remove_retained(routed.message.topic, batch);
            return true;
        }

        let message = routed.keep_untracked();
        let limits = &self.config().limits;
        let timer = (message.expires() != Tick::NEVER)
            .then(|| self.arm(message.expires(), Due::RetainedExpiry(message.clone())));

        let system = *message.origin() == Origin::Broker;
        let reason = match system || self.env.budget.has_room(0) {
            true => DropReason::RetainedFull,
            false => DropReason::MemoryFull,
        };
        let bounds = match reason {
            DropReason::MemoryFull => (0, 0),
            _ => (limits.retained_messages, limits.retained_bytes),
        };

        let mut retained = self.retained.write();
        let Ok(replaced) = retained.insert(message.clone(), timer, bounds) else {
            drop(retained);
            if let Some(timer) = timer {
                self.env.timers.cancel(timer);
            }
            if full == WhenFull::RemoveOld {
                self.remove_retained(message.topic(), batch);
            }
            batch.report_drop(&self.env, Whom::NOBODY, Lost::kept(&message), reason);
            return false;
        };

        if let (Some(journal), false) = (self.env.journal(), system) {
            batch.wait_for(journal.record(Op::Retained { message }));
        }
        drop(retained);
        if let Some(timer) = replaced.and_then(|replaced| replaced.timer) {
            self.env.timers.cancel(timer);
        }
        true
    }

    fn remove_retained(&self, topic: &str, batch: &mut Batch) {
        let mut retained = self.retained.write();
        let Some(removed) = retained.remove(topic) else {
            return;
        };
        if let Some(journal) = self.env.journal() {
            batch.wait_for(journal.record(Op::RetainedRemoved {
                topic: topic.into(),
            }));
        }
        drop(retained);

        if let Some(timer) = removed.timer {
            self.env.timers.cancel(timer);
        }
    }

    /// Stores a retained message without delivering it; `false` if the store is full.
    pub(super) fn store_retained(
        &self,
        message: MessageRef<'_>,
        origin: Origin,
        batch: &mut Batch,
    ) -> bool {
        let publisher = Publisher::Other(origin);
        let mut place = None;
        let mut message = message;
        message.charge(&self.env.budget, &mut place);
        let mut routed = RoutedMessage::new(message, &publisher, self, batch.now);
        let _unit = self.unit(&message);
        let _order = self.router.read();
        self.retain(&mut routed, WhenFull::KeepOld, batch)
    }

    /// Publishes a will that has come due.
    pub(super) fn publish_will(&self, session: &Session, will: &OwnedMessage, batch: &mut Batch) {
        let publisher = Publisher::Will(session);
        // There is no one to be told that a hook refuses it, and the drop has been counted.
        let _ = self.publish(&publisher, &will.parts(), None, None, batch);
    }
}

/// Tells that a message was routed.
fn report_published(routed: &mut RoutedMessage<'_>, matched: usize, batch: &mut Batch) {
    let whom = match routed.publisher {
        Publisher::Client(client) => client.link.whom(Some(client.session)),
        Publisher::Other(Origin::Broker) => return,
        Publisher::Will(_) | Publisher::Other(_) => Whom::NOBODY,
    };

    if batch.wants(EventMask::PUBLISHED) {
        batch.event(Event::Published {
            message: routed.keep(),
            matched,
            connection: whom.connection,
            session: whom.session,
        });
    }

    if let Publisher::Will(session) = routed.publisher
        && batch.wants(EventMask::WILL_SENT)
    {
        batch.event(Event::WillSent {
            client_id: session.client_id.clone(),
            topic: routed.message.topic.into(),
            session: session.number,
            message_number: routed.number(),
        });
    }
}
