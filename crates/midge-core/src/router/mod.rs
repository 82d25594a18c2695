//! The receivers of a message: exact filters in one map, filters with wildcards in a trie, shared
//! groups beside both.

mod edges;
mod shared_group;
mod sub_list;
mod subs;
mod trie;

use std::sync::Arc;

use midge_codec::QoS;

pub(crate) use shared_group::{Asked, Candidates, Group};
use subs::Slot;
pub(crate) use subs::{Sub, Subscriber};
pub(crate) use trie::EmptiedTrie;
use trie::{Found, Trie};

use crate::budget::{Budget, Charge, Part};
use crate::observer::Observers;
use crate::parts::{Keyed, Parts};
use crate::session::Extra;
use crate::steps;
use crate::subscription::{SubRecord, has_wildcards, is_shared, split_share};

/// A receiver of one message, and how it gets it. Overlapping subscriptions of one session are one
/// target.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A session or an in-process subscriber.
    One(SubTarget),
    /// One member of a shared group.
    Group(Arc<Group>),
}

/// One receiver with the sum of its matching subscriptions.
#[derive(Clone, Debug)]
pub(crate) struct SubTarget {
    pub(crate) subscriber: Subscriber,
    /// Maximum of the granted QoS (MQTT-3.3.4-2).
    pub(crate) qos: QoS,
    pub(crate) retain_as_published: bool,
    pub(crate) id: u32,
    pub(crate) extra: Option<Arc<Extra>>,
}

impl SubTarget {
    pub(crate) fn new(sub: &Sub, group: Option<&Arc<Group>>) -> Self {
        let extra = group.map(|group| {
            if sub.id == 0 {
                return group.extra().clone();
            }
            Arc::new(Extra {
                ids: vec![sub.id],
                group: Some(group.filter.clone()),
                original: None,
            })
        });
        Self {
            subscriber: sub.subscriber.clone(),
            qos: sub.qos(),
            retain_as_published: sub.retain_as_published(),
            id: sub.id,
            extra,
        }
    }

    /// Adds another matching subscription of the same session (MQTT-3.3.4-3 to MQTT-3.3.4-5).
    fn merge(&mut self, sub: &Sub) {
        self.qos = self.qos.max(sub.qos());
        self.retain_as_published |= sub.retain_as_published();
        if sub.id == 0 {
            return;
        }
        if self.id == 0 {
            self.id = sub.id;
            return;
        }

        let first = self.id;
        let extra = self.extra.get_or_insert_with(|| {
            Arc::new(Extra {
                ids: vec![first],
                group: None,
                original: None,
            })
        });

        // It is this target's own: nothing is cloned.
        Arc::make_mut(extra).ids.push(sub.id);
    }
}

/// The subscriptions to a filter without wildcards.
struct Exact {
    filter: Arc<str>,
    slot: Slot,
}

impl Keyed for Exact {
    fn key(&self) -> &str {
        &self.filter
    }
}

impl Keyed for Arc<Group> {
    fn key(&self) -> &str {
        &self.filter
    }
}

/// The subscriptions of all sessions.
#[derive(Default)]
pub(crate) struct Router {
    exact: Parts<Exact>,
    wild: Trie,
    groups: Parts<Arc<Group>>,
    pub(crate) observers: Observers,
    closed: bool,
    /// Grows with every change, so that cached routes find out that they are stale.
    generation: u64,
    /// The most filters without wildcards and groups since there were none.
    most: usize,
    /// For the tables, which stay when subscriptions go.
    charge: Charge,
}

/// Bytes that one filter takes in a table, which may be less than half full.
const PLACE: usize = 3 * size_of::<Exact>();

/// Bytes that a subscription is charged: its filter, its entries in the session and here, and what an
/// allocator adds to each of them. The tables are charged as a whole.
pub(crate) fn subscription_bytes(filter: &str) -> usize {
    const ENTRIES: usize = 384;
    const GROUP: usize = 512;

    if is_shared(filter) {
        // The filter without its share is a key of its own.
        ENTRIES + GROUP + 2 * filter.len()
    } else {
        ENTRIES + filter.len()
    }
}

impl Router {
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        let charge = Charge::new(budget, Part::Subscriptions);
        Self {
            wild: Trie::new(charge.another()),
            charge,
            ..Self::default()
        }
    }

    /// Charges the tables as they are after a change.
    fn recharge(&mut self) {
        self.wild.recharge();
        let filters = self.exact.len() + self.groups.len();
        // Tables keep what they have grown to until they are empty.
        self.most = if filters == 0 {
            0
        } else {
            self.most.max(filters)
        };
        let bytes = self.most * PLACE;
        if bytes != self.charge.bytes() {
            self.charge.set(bytes);
        }
    }

    /// The most that the tables can grow by for one more filter, but for those that have to double.
    pub(crate) fn growth(filter: &str) -> usize {
        let levels = filter.bytes().filter(|byte| *byte == b'/').count() + 1;
        2 * PLACE + levels * trie::NODE + filter.len()
    }

    /// Adds or replaces a subscription. `filter` is as the client sent it, `$share/` included when
    /// `shared`.
    pub(crate) fn insert(
        &mut self,
        filter: &Arc<str>,
        subscriber: Subscriber,
        record: SubRecord,
        shared: bool,
    ) {
        self.generation += 1;

        let sub = Sub::new(subscriber, record);
        if shared && let Some((_, inner)) = split_share(filter) {
            if let Some(group) = self.groups.get(filter) {
                group.insert(sub);
                return;
            }
            let group = Arc::new(Group::new(filter.clone()));
            group.insert(sub);
            self.groups.insert(group.clone());
            self.change(inner, None, |slot| slot.add_group(group));
        } else {
            self.change(filter, Some(filter), |slot| slot.insert(sub));
        }

        self.recharge();
    }

    /// Changes the slot of a filter, made if it is not there, for which `name` is kept if there is one.
    fn change(&mut self, filter: &str, name: Option<&Arc<str>>, change: impl FnOnce(&mut Slot)) {
        if has_wildcards(filter) {
            return change(self.wild.slot_mut(filter));
        }
        if let Some(known) = self.exact.get_mut(filter) {
            return change(&mut known.slot);
        }
        let mut new = Exact {
            filter: name.map_or_else(|| filter.into(), Arc::clone),
            slot: Slot::default(),
        };
        change(&mut new.slot);
        self.exact.insert(new);
    }

    /// Removes a subscription. The remains of very many come back, to be freed bit by bit.
    pub(crate) fn remove(
        &mut self,
        filter: &str,
        subscriber: &Subscriber,
        shared: bool,
    ) -> Option<EmptiedTrie> {
        self.generation += 1;

        let emptied = if shared && let Some((_, inner)) = split_share(filter) {
            let group = self.groups.get(filter)?;
            if !group.remove(subscriber) {
                return None;
            }
            let group = group.clone();
            self.groups.remove(filter);
            self.edit(inner, |slot| slot.remove_group(&group))
        } else {
            self.edit(filter, |slot| slot.remove(subscriber))
        };

        self.recharge();
        emptied
    }

    fn edit(&mut self, filter: &str, change: impl FnOnce(&mut Slot)) -> Option<EmptiedTrie> {
        if has_wildcards(filter) {
            return self.wild.edit(filter, change);
        }
        if let Some(known) = self.exact.get_mut(filter) {
            change(&mut known.slot);
            if known.slot.is_empty() {
                self.exact.remove(filter);
            }
        }
        None
    }

    /// All receivers of a message on `topic`. The client `publisher` does not get it through
    /// subscriptions with No Local (MQTT-3.8.3-3).
    pub(crate) fn resolve(&self, topic: &str, publisher: Option<&str>) -> Vec<Target> {
        let mut targets = Vec::new();
        self.resolve_into(topic, self.hash(topic), publisher, &mut targets);
        targets
    }

    /// As [`Router::resolve`], appended to a list; `hash` is the topic's, see [`Router::hash`].
    pub(crate) fn resolve_into(
        &self,
        topic: &str,
        hash: u64,
        publisher: Option<&str>,
        targets: &mut Vec<Target>,
    ) {
        let _section = steps::section(steps::Section::Routing);
        let mut found = Found::default();
        if let Some(known) = self.exact.get_hashed(topic, hash) {
            found.push(&known.slot);
        }

        self.wild.matches(topic, &mut found);
        if !found.more.is_empty() {
            return Self::merge(&found, publisher, targets);
        }

        // At most one filter: each subscriber stands in it once.
        if let Some(slot) = found.first {
            targets.extend(slot.groups().iter().cloned().map(Target::Group));
            targets.reserve_exact(slot.subs().len());
            let seen = slot.subs().iter().filter(|sub| !sub.hidden_from(publisher));
            targets.extend(seen.map(|sub| Target::One(SubTarget::new(sub, None))));
        }
    }

    /// The receivers of a message that several filters match.
    #[inline(never)]
    fn merge(found: &Found<'_>, publisher: Option<&str>, targets: &mut Vec<Target>) {
        let mut subs: Vec<&Sub> = Vec::new();
        for slot in found.first.iter().chain(&found.more) {
            targets.extend(slot.groups().iter().cloned().map(Target::Group));
            subs.extend((slot.subs().iter()).filter(|sub| !sub.hidden_from(publisher)));
        }

        targets.reserve(subs.len());

        // Subscriptions of one session become neighbours. The sort is
        // stable, so identifiers stay in the order of the filters; and it is the same in each run of
        // a script.
        subs.sort_by_key(|sub| sub.subscriber.order());

        let mut last: Option<SubTarget> = None;
        steps::add(subs.len());
        for sub in subs {
            match &mut last {
                Some(target) if target.subscriber.same(&sub.subscriber) => target.merge(sub),
                _ => targets.extend(last.replace(SubTarget::new(sub, None)).map(Target::One)),
            }
        }

        targets.extend(last.map(Target::One));
    }

    /// The hash of a topic, by a seed of this router.
    pub(crate) fn hash(&self, topic: &str) -> u64 {
        self.exact.hash(topic)
    }

    /// A router for a hub that has ended: it takes no in-process subscribers. Routes that were
    /// remembered of this one do not hold for it.
    pub(crate) fn ended(&self) -> Self {
        Self {
            generation: self.generation + 1,
            closed: true,
            ..Self::default()
        }
    }

    /// Whether the hub has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn group(&self, filter: &str) -> Option<&Arc<Group>> {
        self.groups.get(filter)
    }
}

#[cfg(test)]
mod tests;
