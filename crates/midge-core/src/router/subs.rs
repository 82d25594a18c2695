//! The subscriptions to one filter.

use std::sync::Arc;

use midge_codec::QoS;

use super::Group;
use super::sub_list::SubList;
use crate::observer::ObserverKey;
use crate::session::Session;
use crate::subscription::SubRecord;

/// A client's session, or a subscription of the host.
#[derive(Clone, Debug)]
pub(crate) enum Subscriber {
    Session(Arc<Session>),
    Observer(ObserverKey),
}

impl Subscriber {
    /// The same number for the same subscriber.
    pub(crate) fn key(&self) -> u64 {
        match self {
            Self::Session(session) => Arc::as_ptr(session).addr() as u64,
            Self::Observer(key) => key.number(),
        }
    }

    /// As [`Subscriber::key`], but it does not depend on where anything lies in memory.
    pub(crate) fn order(&self) -> u64 {
        match self {
            Self::Session(session) => session.number << 1,
            Self::Observer(key) => key.number(),
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

/// One subscription in the router.
#[derive(Clone, Debug)]
pub(crate) struct Sub {
    pub(crate) subscriber: Subscriber,
    /// Subscription identifier, 0 for none.
    pub(crate) id: u32,
    flags: u8,
}

const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;

impl Sub {
    pub(crate) fn new(subscriber: Subscriber, record: SubRecord) -> Self {
        let mut flags = record.options.qos as u8;
        if record.options.no_local {
            flags |= NO_LOCAL;
        }
        if record.options.retain_as_published {
            flags |= RETAIN_AS_PUBLISHED;
        }
        Self {
            subscriber,
            id: record.id,
            flags,
        }
    }

    pub(crate) fn qos(&self) -> QoS {
        QoS::from_u8(self.flags & 3).unwrap_or(QoS::AtMostOnce)
    }

    pub(crate) fn retain_as_published(&self) -> bool {
        self.flags & RETAIN_AS_PUBLISHED != 0
    }

    /// Whether No Local hides a message from this subscription that was published in the name of
    /// its own client: by the client, as its will, by the host for it (MQTT-3.8.3-3).
    pub(crate) fn hidden_from(&self, publisher: Option<&str>) -> bool {
        self.flags & NO_LOCAL != 0
            && match (&self.subscriber, publisher) {
                (Subscriber::Session(own), Some(publisher)) => *own.client_id == *publisher,
                _ => false,
            }
    }
}

/// A list that is short nearly always.
#[derive(Debug, Default)]
enum List {
    #[default]
    None,
    One(Sub),
    Many(Box<SubList>),
}

/// The subscriptions and shared groups of one filter.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    subs: List,
    #[allow(clippy::box_collection)] // most slots have none, and there are many slots
    groups: Option<Box<Vec<Arc<Group>>>>,
}

impl Slot {
    pub(crate) fn subs(&self) -> &[Sub] {
        match &self.subs {
            List::None => &[],
            List::One(sub) => std::slice::from_ref(sub),
            List::Many(subs) => subs,
        }
    }

    pub(crate) fn groups(&self) -> &[Arc<Group>] {
        self.groups.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.subs, List::None) && self.groups.is_none()
    }

    /// Adds a subscription, or replaces the one of the same subscriber.
    pub(crate) fn insert(&mut self, sub: Sub) {
        match &mut self.subs {
            List::None => self.subs = List::One(sub),
            List::One(known) if known.subscriber.same(&sub.subscriber) => *known = sub,
            List::One(known) => {
                let both = SubList::from([known.clone(), sub]);
                self.subs = List::Many(Box::new(both));
            }
            List::Many(subs) => subs.insert(sub),
        }
    }

    pub(crate) fn remove(&mut self, subscriber: &Subscriber) {
        match &mut self.subs {
            List::One(sub) if sub.subscriber.same(subscriber) => self.subs = List::None,
            List::Many(subs) => {
                subs.remove(subscriber);
                if subs.len() == 1 {
                    self.subs = subs.pop().map_or(List::None, List::One);
                }
            }
            List::None | List::One(_) => {}
        }
    }

    pub(crate) fn add_group(&mut self, group: Arc<Group>) {
        let groups = self.groups.get_or_insert_default();
        group.set_place(groups.len());
        groups.push(group);
    }

    /// Removes a group; the last one takes its place.
    pub(crate) fn remove_group(&mut self, group: &Arc<Group>) {
        let Some(groups) = &mut self.groups else {
            return;
        };
        let at = group.place();
        if !groups
            .get(at)
            .is_some_and(|known| Arc::ptr_eq(known, group))
        {
            return;
        }
        groups.swap_remove(at);
        if let Some(moved) = groups.get(at) {
            moved.set_place(at);
        }
        if groups.is_empty() {
            self.groups = None;
        }
    }
}
