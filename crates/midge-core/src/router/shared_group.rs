//! A shared group: the members of one `$share/name/filter` (section 4.8.2).

use std::sync::Arc;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

use super::sub_list::SubList;
use super::{Sub, Subscriber};
use crate::session::Extra;

/// The members of a shared subscription. Each message goes to one of them: round robin over the
/// connected ones, and over the others if none is connected.
#[derive(Debug)]
pub(crate) struct Group {
    /// `$share/name/filter`.
    pub(crate) filter: Arc<str>,
    /// What deliveries to members without subscription identifier carry.
    extra: Arc<Extra>,
    /// Its place among the groups of the same filter. Changes under the router's write lock.
    place: AtomicUsize,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    subs: SubList,
    next: usize,
}

impl Group {
    pub(crate) fn new(filter: Arc<str>) -> Self {
        let extra = Extra {
            ids: Vec::new(),
            group: Some(filter.clone()),
            original: None,
        };
        Self {
            filter,
            extra: Arc::new(extra),
            place: AtomicUsize::new(0),
            members: Mutex::default(),
        }
    }

    pub(crate) fn extra(&self) -> &Arc<Extra> {
        &self.extra
    }

    pub(super) fn place(&self) -> usize {
        self.place.load(Ordering::Relaxed)
    }

    pub(super) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// Adds a member or replaces its subscription.
    pub(crate) fn insert(&self, sub: Sub) {
        self.members.lock().subs.insert(sub);
    }

    /// Removes a member; whether the group is empty now.
    pub(crate) fn remove(&self, subscriber: &Subscriber) -> bool {
        let mut members = self.members.lock();
        members.subs.remove(subscriber);
        members.subs.is_empty()
    }

    /// The members in the order in which the next message is to be offered to them.
    pub(crate) fn candidates(&self) -> Candidates {
        let mut members = self.members.lock();
        let count = members.subs.len();
        let start = if count == 0 { 0 } else { members.next % count };
        let online = |sub: &Sub| match &sub.subscriber {
            Subscriber::Session(session) => session.is_online(),
            Subscriber::Observer(_) => true,
        };
        let first = (0..count)
            .map(|n| (start + n) % count)
            .find(|at| online(&members.subs[*at]));
        let start = first.unwrap_or(start);
        members.next = start + 1;
        Candidates {
            first: members.subs.get(start).cloned(),
            start,
        }
    }

    /// Whether a subscriber is a member. Members change only under the router's write lock.
    pub(crate) fn has(&self, subscriber: &Subscriber) -> bool {
        let members = self.members.lock();

        members
            .subs
            .iter()
            .any(|sub| sub.subscriber.same(subscriber))
    }

    /// The members that are not in a list.
    pub(crate) fn members_but(&self, known: &[Subscriber]) -> Vec<Sub> {
        let members = self.members.lock();
        let is_new = |sub: &&Sub| !known.iter().any(|known| known.same(&sub.subscriber));

        members.subs.iter().filter(is_new).cloned().collect()
    }

    /// Everybody but the first candidate, connected members first.
    pub(crate) fn others(&self, candidates: &Candidates) -> Vec<Sub> {
        let members = self.members.lock();
        let count = members.subs.len();
        let mut others: Vec<Sub> = (1..count)
            .map(|n| members.subs[(candidates.start + n) % count].clone())
            .collect();
        others.sort_by_key(|sub| match &sub.subscriber {
            Subscriber::Session(session) => !session.is_online(),
            Subscriber::Observer(_) => false,
        });
        others
    }
}

/// The member that a message is offered to first.
pub(crate) struct Candidates {
    pub(crate) first: Option<Sub>,
    start: usize,
}
