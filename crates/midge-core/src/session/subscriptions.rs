//! The subscriptions of one session by filter.

use std::collections::{BTreeMap, btree_map};
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::steps;
use crate::subscription::SubRecord;
use crate::subscription::{has_wildcards, is_shared};
use crate::sync::Hashing;

/// Up to this many subscriptions are a list, the first one without memory of its own.
const FEW: usize = 8;
/// Answers with retained messages that may wait for one subscription. Another SUBSCRIBE is answered
/// by the last one of them.
const MOST_WALKS: u8 = 8;

/// How many subscriptions one client may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubscriptionLimits {
    pub(crate) all: usize,
    /// Those of shared groups.
    pub(crate) shared: usize,
    /// Different patterns of wildcards.
    pub(crate) patterns: usize,
}

impl SubscriptionLimits {
    /// For what was accepted once.
    pub(crate) const NONE: Self = Self {
        all: usize::MAX,
        shared: usize::MAX,
        patterns: usize::MAX,
    };
}

/// A subscription that would be one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The number of levels of a filter with wildcards, and which of them are wildcards. A topic matches
/// at most one filter of each pattern, so the patterns of a client bound how many of its
/// subscriptions a message can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pattern {
    plus: u128,
    levels: u16,
    open: bool,
}

impl Pattern {
    /// `None`: no wildcards, or the filter of a shared group, which is a receiver of its own.
    fn of(filter: &str) -> Option<Self> {
        if !has_wildcards(filter) || is_shared(filter) {
            return None;
        }

        let mut pattern = Self {
            plus: 0,
            levels: 0,
            open: false,
        };

        for level in filter.split('/') {
            steps::add(1);
            match level {
                "#" => pattern.open = true,
                "+" => pattern.plus ^= 1 << (pattern.levels % 128),
                _ => {}
            }
            pattern.levels = pattern.levels.saturating_add(1);
        }

        Some(pattern)
    }
}

/// A subscription as its session keeps it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    record: SubRecord,
    /// Answers with retained messages that wait.
    walks: u8,
}

type Entry = (Arc<str>, Held);

/// The subscriptions of one session by filter. Most sessions have a few, some very many.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Storage);

#[derive(Debug)]
enum Storage {
    Few(SmallVec<[Entry; 1]>),
    Many(Box<Many>),
}

impl Default for Storage {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

/// A tree: a table would stop everything that needs the session while it grows.
#[derive(Debug, Default)]
struct Many {
    map: BTreeMap<Arc<str>, Held>,
    patterns: HashMap<Pattern, u32, Hashing>,
    shared: usize,
}

impl Many {
    /// Adds a subscription that is not there, unless it is one too many.
    fn add(
        &mut self,
        filter: Arc<str>,
        held: Held,
        limits: &SubscriptionLimits,
    ) -> Result<(), TooMany> {
        let shared = usize::from(held.record.shared);
        if self.map.len() >= limits.all || self.shared + shared > limits.shared {
            return Err(TooMany);
        }

        if let Some(pattern) = Pattern::of(&filter) {
            let count = self.patterns.len();
            match self.patterns.get_mut(&pattern) {
                Some(known) => *known += 1,
                None if count >= limits.patterns => return Err(TooMany),
                None => {
                    self.patterns.insert(pattern, 1);
                }
            }
        }

        self.shared += shared;
        self.map.insert(filter, held);
        Ok(())
    }

    fn remove(&mut self, filter: &str) -> Option<Entry> {
        let (name, held) = self.map.remove_entry(filter)?;
        self.shared -= usize::from(held.record.shared);
        if let Some(pattern) = Pattern::of(filter)
            && let Some(count) = self.patterns.get_mut(&pattern)
        {
            *count -= 1;
            if *count == 0 {
                self.patterns.remove(&pattern);
            }
        }
        Some((name, held))
    }
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Storage::Few(list) => list.len(),
            Storage::Many(many) => many.map.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&mut self, filter: &str) -> Option<(&Arc<str>, &mut Held)> {
        steps::add(1);
        match &mut self.0 {
            Storage::Few(list) => list
                .iter_mut()
                .find(|(name, _)| **name == *filter)
                .map(|(name, held)| (&*name, held)),
            Storage::Many(many) => {
                let from = std::ops::Bound::Included(filter);
                let mut range = (many.map).range_mut::<str, _>((from, from));
                range.next()
            }
        }
    }

    /// Adds a subscription, or replaces one: then `filter` becomes the copy that is there already.
    /// The subscription that was replaced.
    pub(crate) fn insert(
        &mut self,
        filter: &mut Arc<str>,
        record: SubRecord,
        limits: &SubscriptionLimits,
    ) -> Result<Option<SubRecord>, TooMany> {
        if let Some((name, held)) = self.find(filter) {
            let old = std::mem::replace(&mut held.record, record);
            filter.clone_from(name);
            if let Storage::Many(many) = &mut self.0 {
                many.shared -= usize::from(old.shared);
                many.shared += usize::from(record.shared);
            }
            return Ok(Some(old));
        }

        let new = Held { record, walks: 0 };
        if let Storage::Few(list) = &mut self.0 {
            let is_checked = limits.all.min(limits.shared).min(limits.patterns) < FEW;
            if list.len() < FEW && !is_checked {
                list.push((filter.clone(), new));
                return Ok(None);
            }
            let mut many = Many::default();
            for (name, held) in list.iter().cloned() {
                let _ = many.add(name, held, &SubscriptionLimits::NONE);
            }
            many.add(filter.clone(), new, limits)?;
            if list.len() < FEW {
                list.push((filter.clone(), new));
            } else {
                self.0 = Storage::Many(Box::new(many));
            }
        } else if let Storage::Many(many) = &mut self.0 {
            many.add(filter.clone(), new, limits)?;
        }
        Ok(None)
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, filter: &str) -> Option<(Arc<str>, SubRecord)> {
        steps::add(1);
        let removed = match &mut self.0 {
            Storage::Few(list) => {
                let at = list.iter().position(|(name, _)| **name == *filter)?;
                Some(list.swap_remove(at))
            }
            Storage::Many(many) => many.remove(filter),
        };
        if self.is_empty() {
            *self = Self::default();
        }
        removed.map(|(name, held)| (name, held.record))
    }

    /// Notes that an answer with retained messages is to wait for a subscription; `false` if enough
    /// of them wait already.
    pub(crate) fn begin_walk(&mut self, filter: &str) -> bool {
        match self.find(filter) {
            Some((_, held)) if held.walks < MOST_WALKS => {
                held.walks += 1;
                true
            }
            _ => false,
        }
    }

    /// Whether an answer with retained messages still has its subscription: not another one to the
    /// same filter.
    pub(crate) fn has_walk(&mut self, filter: &Arc<str>) -> bool {
        self.find(filter)
            .is_some_and(|(name, _)| Arc::ptr_eq(name, filter))
    }

    /// An answer with retained messages has been sent.
    pub(crate) fn end_walk(&mut self, filter: &Arc<str>) {
        if let Some((name, held)) = self.find(filter)
            && Arc::ptr_eq(name, filter)
        {
            held.walks = held.walks.saturating_sub(1);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &SubRecord)> {
        let (few, many) = match &self.0 {
            Storage::Few(list) => (Some(list), None),
            Storage::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(name, held)| (name, held));
        let all = few.chain(many.into_iter().flat_map(|many| many.map.iter()));
        all.map(|(name, held)| (name, &held.record))
    }

    /// Takes them one after another; the rest stays behind the iterator.
    pub(crate) fn drain(self) -> Draining {
        match self.0 {
            Storage::Few(list) => Draining::Few(list.into_iter()),
            Storage::Many(many) => Draining::Many(many.map.into_iter()),
        }
    }
}

/// See [`Subscriptions::drain`].
pub(crate) enum Draining {
    Few(smallvec::IntoIter<[Entry; 1]>),
    Many(btree_map::IntoIter<Arc<str>, Held>),
}

impl Iterator for Draining {
    type Item = (Arc<str>, SubRecord);

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self {
            Self::Few(list) => list.next(),
            Self::Many(map) => map.next(),
        };
        next.map(|(name, held)| (name, held.record))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Self::Few(list) => list.size_hint(),
            Self::Many(map) => map.size_hint(),
        }
    }
}

impl ExactSizeIterator for Draining {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(all: usize) -> SubscriptionLimits {
        SubscriptionLimits {
            all,
            ..SubscriptionLimits::NONE
        }
    }

    #[test]
    fn subscriptions_few_and_many_are_found_replaced_and_removed() {
        for count in [1, FEW, FEW + 1, 100] {
            let mut subscriptions = Subscriptions::default();
            let limits = at_most(count);
            let names: Vec<Arc<str>> = (0..count).map(|n| format!("t/{n}").into()).collect();

            for (id, name) in (1..).zip(&names) {
                let record = SubRecord {
                    id,
                    ..SubRecord::default()
                };
                let new = subscriptions.insert(&mut name.clone(), SubRecord::default(), &limits);
                let mut copy = format!("t/{}", id - 1).into();
                let replaced = subscriptions.insert(&mut copy, record, &limits);
                assert!(new == Ok(None) && replaced == Ok(Some(SubRecord::default())));
                assert!(Arc::ptr_eq(&copy, name));
            }

            assert_eq!(subscriptions.len(), count);

            let one_more = subscriptions.insert(&mut "x".into(), SubRecord::default(), &limits);
            assert_eq!(one_more, Err(TooMany));
            for (id, name) in (1..).zip(&names) {
                let found = subscriptions.iter().find(|(key, _)| *key == name);
                assert_eq!(found.map(|(_, record)| record.id), Some(id));
            }

            assert!(subscriptions.remove("t").is_none());

            let removed = subscriptions.remove("t/0").map(|(_, record)| record.id);
            assert_eq!(removed, Some(1));
            assert_eq!(subscriptions.len(), count - 1);

            let mut rest = subscriptions.drain();
            assert_eq!(rest.len(), count - 1);
            assert_eq!(rest.by_ref().count(), count - 1);
        }
    }

    #[test]
    fn patterns_of_wildcards_are_limited_and_free_again() {
        for most in [3, 10] {
            patterns_are_limited(most);
        }
    }

    fn patterns_are_limited(most: usize) {
        let mut subscriptions = Subscriptions::default();
        let limits = SubscriptionLimits {
            patterns: most,
            ..SubscriptionLimits::NONE
        };

        let pattern = |n: usize| vec!["+"; n + 1].join("/");
        let mut insert = |filter: &str| {
            (subscriptions)
                .insert(&mut filter.into(), SubRecord::default(), &limits)
                .is_ok()
        };

        for n in 0..most {
            assert!(insert(&pattern(n)));
        }

        assert!(!insert(&pattern(most)));
        assert!(!insert("a/#") && insert("a/b/c"), "only wildcards count");
        assert!(insert(&pattern(1)), "it is there already");

        let removed = subscriptions.remove(&pattern(2));
        assert!(removed.is_some());

        let mut insert = |filter: &str| {
            (subscriptions)
                .insert(&mut filter.into(), SubRecord::default(), &limits)
                .is_ok()
        };

        assert!(insert("+/a/+") && insert("+/b/+") && !insert("a/+/+"));
    }

    #[test]
    fn shared_subscriptions_are_limited() {
        for most in [4, 20] {
            shared_are_limited(most);
        }
    }

    fn shared_are_limited(most: usize) {
        let mut subscriptions = Subscriptions::default();
        let limits = SubscriptionLimits {
            shared: most,
            ..SubscriptionLimits::NONE
        };

        let record = SubRecord {
            shared: true,
            ..SubRecord::default()
        };

        let mut insert =
            |n: usize| subscriptions.insert(&mut format!("$share/{n}/#").into(), record, &limits);
        for n in 0..most {
            assert_eq!(insert(n), Ok(None));
        }

        assert_eq!(insert(most), Err(TooMany));
        assert_eq!(insert(3), Ok(Some(record)));
        assert!(subscriptions.remove("$share/3/#").is_some());

        let other = subscriptions.insert(&mut "$share/x/#".into(), record, &limits);
        assert_eq!(other, Ok(None));
    }

    #[test]
    fn a_walk_belongs_to_one_subscription() {
        let mut subscriptions = Subscriptions::default();
        let mut filter: Arc<str> = "a".into();
        let (record, limits) = (SubRecord::default(), SubscriptionLimits::NONE);
        assert!(!subscriptions.begin_walk("a"));
        assert!(subscriptions.insert(&mut filter, record, &limits).is_ok());
        let waiting = (0..20).filter(|_| subscriptions.begin_walk("a"));
        assert_eq!(waiting.count(), usize::from(MOST_WALKS));
        assert!(subscriptions.has_walk(&filter));
        subscriptions.end_walk(&filter);
        assert!(subscriptions.begin_walk("a") && !subscriptions.begin_walk("a"));
        subscriptions.remove("a");
        let again = subscriptions.insert(&mut "a".into(), record, &limits);
        assert!(again.is_ok() && !subscriptions.has_walk(&filter));
    }
}
