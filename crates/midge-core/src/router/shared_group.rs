//! A shared group: the members of one `$share/name/filter` (section 4.8.2).

use std::sync::Arc;

use hashbrown::HashMap;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

use super::sub_list::SubList;
use super::{Sub, Subscriber};
use crate::session::Extra;
use crate::steps;

/// Members that are looked at for one message.
const LOOKED_AT: usize = 1000;

/// The members of a shared subscription. Each message goes to one of them: round robin over the
/// connected ones, and over the others if none is connected.
#[derive(Debug)]
pub(crate) struct Group {
    /// `$share/name/filter`.
    pub(crate) filter: Arc<str>,
    /// Carried by deliveries to members without subscription identifier.
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

    /// The member that the next message is to be offered to first: a connected one, if there is one
    /// among the next [`LOOKED_AT`] members.
    pub(crate) fn candidates(&self) -> Candidates {
        let mut members = self.members.lock();
        let count = members.subs.len();
        let start = if count == 0 { 0 } else { members.next % count };
        let looked_at = count.min(LOOKED_AT);
        let first = (0..looked_at)
            .inspect(|_| steps::add(1))
            .map(|n| (start + n) % count)
            .find(|at| is_online(&members.subs[*at]));

        members.next = match first {
            Some(first) => first + 1,
            None if looked_at < count => start + looked_at,
            None => start + 1,
        };

        let start = first.unwrap_or(start);
        Candidates {
            first: members.subs.get(start).cloned(),
            start,
        }
    }

    /// Whether a subscriber is a member. Members change only under the router's write lock.
    pub(crate) fn has(&self, subscriber: &Subscriber) -> bool {
        self.members.lock().subs.place(subscriber).is_some()
    }

    /// Members behind the first candidate that were not asked yet, connected members first. A message
    /// that [`LOOKED_AT`] members have not taken is offered to no more of them.
    pub(crate) fn others(&self, candidates: &Candidates, asked: &Asked) -> Vec<Sub> {
        let members = self.members.lock();
        let count = members.subs.len();
        let left = LOOKED_AT.saturating_sub(asked.0.len());
        let mut others: Vec<Sub> = (0..count)
            .take(LOOKED_AT)
            .inspect(|_| steps::add(1))
            .map(|n| &members.subs[(candidates.start + n) % count])
            .filter(|sub| !asked.0.contains_key(&sub.subscriber.key()))
            .take(left)
            .cloned()
            .collect();
        others.sort_by_key(|sub| !is_online(sub));
        others
    }
}

fn is_online(sub: &Sub) -> bool {
    match &sub.subscriber {
        Subscriber::Session(session) => session.is_online(),
        Subscriber::Observer(_) => true,
    }
}

/// The members that a message was offered to. They stay in memory, so that no other one can have the
/// key of one of them.
#[derive(Debug, Default)]
pub(crate) struct Asked(HashMap<u64, Subscriber>);

impl Asked {
    pub(crate) fn add(&mut self, subscriber: &Subscriber) {
        self.0.insert(subscriber.key(), subscriber.clone());
    }
}

/// The member that a message is offered to first.
pub(crate) struct Candidates {
    pub(crate) first: Option<Sub>,
    start: usize,
}
