//! Retained messages, ordered by topic name, so that a subscription can be served page by page.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::Arc;

use midge_codec::TopicFilter;

use crate::message::{Message, Origin};
use crate::router::has_wildcards;
use crate::shared_message::SharedMessage;
use crate::time::TimerKey;

/// Entries looked at for one page: bounds the time under the lock.
const PAGE: usize = 512;

struct Entry {
    message: SharedMessage,
    stamp: u64,
    timer: Option<TimerKey>,
}

/// The last retained message of each topic (section 3.3.1.3).
#[derive(Default)]
pub(crate) struct Retained {
    /// The keys are the topics of the messages; where one was replaced, that of the first one.
    messages: BTreeMap<Arc<str>, Entry>,
    bytes: usize,
    count: usize,
    stamp: u64,
}

/// The message does not fit into the bounds.
#[derive(Debug)]
pub(crate) struct Full;

/// What a removed entry has left behind: a deadline to cancel.
pub(crate) struct Replaced {
    pub(crate) timer: Option<TimerKey>,
}

/// A part of the answer to a new subscription.
pub(crate) struct Page {
    pub(crate) messages: Vec<SharedMessage>,
    /// Where the next page begins, `None` at the end.
    pub(crate) after: Option<SharedMessage>,
}

impl Retained {
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stores a message, in place of the one before it with this topic, unless there would be more
    /// than `max_count` or more than `max_bytes`. Those of the broker itself are not counted.
    pub(crate) fn insert(
        &mut self,
        message: SharedMessage,
        timer: Option<TimerKey>,
        (max_count, max_bytes): (usize, usize),
    ) -> Result<Option<Replaced>, Full> {
        let topic = message.shared_topic().cloned().unwrap_or_default();
        let place = self.messages.entry(topic);
        let (mut count, mut bytes) = (self.count, self.bytes);
        if let btree_map::Entry::Occupied(known) = &place {
            let known = &known.get().message;
            if is_counted(known) {
                count -= 1;
                bytes -= known.cost();
            }
        }
        if is_counted(&message) {
            count += 1;
            bytes += message.cost();
            if count > max_count || bytes > max_bytes {
                return Err(Full);
            }
        }
        self.stamp += 1;
        (self.count, self.bytes) = (count, bytes);
        let entry = Entry {
            message,
            stamp: self.stamp,
            timer,
        };
        Ok(match place {
            btree_map::Entry::Vacant(place) => {
                place.insert(entry);
                None
            }
            btree_map::Entry::Occupied(mut known) => {
                let old = known.insert(entry);
                Some(Replaced { timer: old.timer })
            }
        })
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Replaced> {
        let entry = self.messages.remove(topic)?;
        if is_counted(&entry.message) {
            self.count -= 1;
            self.bytes -= entry.message.cost();
        }
        Some(Replaced { timer: entry.timer })
    }

    /// Removes this very message, if it is still the one.
    pub(crate) fn remove_exact(&mut self, message: &SharedMessage) -> bool {
        let same = self
            .messages
            .get(message.topic())
            .is_some_and(|known| known.message.ptr_eq(message));
        same && self.remove(message.topic()).is_some()
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&SharedMessage> {
        self.messages.get(topic).map(|entry| &entry.message)
    }

    /// The next messages that match a filter (without share part) and were retained no later than
    /// `until`.
    pub(crate) fn page(&self, filter: &str, after: Option<&Message>, until: u64) -> Page {
        if !has_wildcards(filter) {
            let found = self
                .messages
                .get(filter)
                .filter(|entry| entry.stamp <= until);
            let messages = found
                .map(|entry| entry.message.clone())
                .into_iter()
                .collect();
            return Page {
                messages,
                after: None,
            };
        }
        let mut page = Page {
            messages: Vec::new(),
            after: None,
        };
        let Ok(parsed) = TopicFilter::new(filter) else {
            return page;
        };
        let prefix = literal_prefix(filter);
        let start = match after {
            Some(message) => Bound::Excluded(message.topic()),
            None => Bound::Included(prefix),
        };
        let all = matches!(filter, "#" | "+/#");
        for (visited, (topic, entry)) in self
            .messages
            .range::<str, _>((start, Bound::Unbounded))
            .enumerate()
        {
            if !topic.starts_with(prefix) {
                break;
            }
            let matches = if all {
                !topic.starts_with('$')
            } else {
                parsed.matches(topic)
            };
            if entry.stamp <= until && matches {
                page.messages.push(entry.message.clone());
            }
            if visited + 1 >= PAGE {
                page.after = Some(entry.message.clone());
                break;
            }
        }
        page
    }

    /// Every message that matches a filter.
    pub(crate) fn matching(&self, filter: &str) -> Vec<SharedMessage> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.page(filter, after.as_deref(), u64::MAX);
            found.extend(page.messages);
            after = page.after;
            if after.is_none() {
                return found;
            }
        }
    }
}

fn is_counted(message: &Message) -> bool {
    *message.origin() != Origin::Broker
}

/// The part of a filter before its first wildcard. `a/#` matches `a` too, so its part is `a`.
fn literal_prefix(filter: &str) -> &str {
    let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
    let prefix = filter.get(..wildcard).unwrap_or_default();
    if filter.get(wildcard..) == Some("#") {
        prefix.strip_suffix('/').unwrap_or(prefix)
    } else {
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::OwnedMessage;
    use crate::time::Tick;

    fn message(topic: &str) -> SharedMessage {
        OwnedMessage::new(topic, "x")
            .parts()
            .keep(None, 1, Origin::Host, Tick(0), None)
    }

    fn keep(store: &mut Retained, message: SharedMessage) {
        assert!(
            store
                .insert(message, None, (usize::MAX, usize::MAX))
                .is_ok()
        );
    }

    fn topics(page: &[SharedMessage]) -> Vec<&str> {
        page.iter().map(|message| message.topic()).collect()
    }

    #[test]
    fn filters_find_what_they_match() {
        let mut store = Retained::default();
        for topic in ["a", "a/b", "a/c/d", "ab", "b", "$x/a"] {
            keep(&mut store, message(topic));
        }
        for (filter, expected) in [
            ("#", &["a", "a/b", "a/c/d", "ab", "b"][..]),
            ("a/#", &["a", "a/b", "a/c/d"]),
            ("a/+", &["a/b"]),
            ("+", &["a", "ab", "b"]),
            ("+/+/d", &["a/c/d"]),
            ("$x/#", &["$x/a"]),
            ("b", &["b"]),
            ("nothing", &[]),
        ] {
            assert_eq!(topics(&store.matching(filter)), expected, "{filter}");
        }
    }

    #[test]
    fn pages_skip_what_came_later() {
        let mut store = Retained::default();
        for n in 0..PAGE * 2 {
            keep(&mut store, message(&format!("t/{n:05}")));
        }
        let until = store.stamp();
        let first = store.page("t/+", None, until);
        assert_eq!(first.messages.len(), PAGE);
        keep(&mut store, message("t/99999"));
        keep(&mut store, message(&format!("t/{:05}", PAGE)));
        let second = store.page("t/+", first.after.as_deref(), until);
        assert_eq!(second.messages.len(), PAGE - 1);
        assert_eq!(store.count(), PAGE * 2 + 1);
    }

    #[test]
    fn accounting_is_exact() {
        let mut store = Retained::default();
        let first = message("a");
        let cost = first.cost();
        let mut store_in = |message, bounds| store.insert(message, None, bounds).is_ok();
        assert!(!store_in(first.clone(), (0, cost)) && !store_in(first.clone(), (1, cost - 1)));
        assert!(store_in(message("a"), (1, cost)));
        assert!(
            store_in(first.clone(), (1, cost)),
            "replacing needs no room"
        );
        assert!(!store_in(message("b"), (1, cost * 2)));
        assert!(!store_in(message("b"), (2, cost * 2 - 1)));
        assert_eq!((store.count(), store.bytes()), (1, cost));
        assert!(!store.remove_exact(&message("a")));
        assert!(store.remove_exact(&first));
        assert_eq!((store.count(), store.bytes()), (0, 0));
    }
}
