//! Retained messages, ordered by topic name, so that a subscription can be served page by page.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

use midge_codec::TopicFilter;

use crate::message::{Message, Origin};
use crate::router::has_wildcards;
use crate::shared_message::SharedMessage;
use crate::time::TimerKey;

/// Entries looked at for one page: bounds the time under the lock.
const PAGE: usize = 512;

struct ByTopic(SharedMessage);

impl Borrow<str> for ByTopic {
    fn borrow(&self) -> &str {
        self.0.topic()
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.0.topic() == other.0.topic()
    }
}

impl Eq for ByTopic {}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.topic().cmp(other.0.topic())
    }
}

struct Entry {
    stamp: u64,
    timer: Option<TimerKey>,
}

/// The last retained message of each topic (section 3.3.1.3).
#[derive(Default)]
pub(crate) struct Retained {
    messages: BTreeMap<ByTopic, Entry>,
    bytes: usize,
    count: usize,
    stamp: u64,
}

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

    /// Whether one more message fits into the bounds; replacing always counts as one more.
    pub(crate) fn has_room(&self, message: &Message, max_count: usize, max_bytes: usize) -> bool {
        let (count, bytes) = match self.messages.get_key_value(message.topic()) {
            Some((known, _)) => (self.count - 1, self.bytes - known.0.cost()),
            None => (self.count, self.bytes),
        };
        count < max_count && bytes + message.cost() <= max_bytes
    }

    pub(crate) fn insert(
        &mut self,
        message: SharedMessage,
        timer: Option<TimerKey>,
    ) -> Option<Replaced> {
        let old = self.remove(message.topic());
        self.stamp += 1;
        if *message.origin() != Origin::Broker {
            self.count += 1;
            self.bytes += message.cost();
        }
        self.messages.insert(
            ByTopic(message),
            Entry {
                stamp: self.stamp,
                timer,
            },
        );
        old
    }

    pub(crate) fn remove(&mut self, topic: &str) -> Option<Replaced> {
        let (message, entry) = self.messages.remove_entry(topic)?;
        if *message.0.origin() != Origin::Broker {
            self.count -= 1;
            self.bytes -= message.0.cost();
        }
        Some(Replaced { timer: entry.timer })
    }

    /// Removes this very message, if it is still the one.
    pub(crate) fn remove_exact(&mut self, message: &SharedMessage) -> bool {
        let same = self
            .messages
            .get_key_value(message.topic())
            .is_some_and(|(known, _)| SharedMessage::ptr_eq(&known.0, message));
        same && self.remove(message.topic()).is_some()
    }

    pub(crate) fn get(&self, topic: &str) -> Option<&SharedMessage> {
        self.messages
            .get_key_value(topic)
            .map(|(message, _)| &message.0)
    }

    /// The next messages that match a filter (without share part) and were retained no later than
    /// `until`.
    pub(crate) fn page(&self, filter: &str, after: Option<&Message>, until: u64) -> Page {
        if !has_wildcards(filter) {
            let found = self
                .messages
                .get_key_value(filter)
                .filter(|(_, e)| e.stamp <= until);
            let messages = found
                .map(|(message, _)| message.0.clone())
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
        for (visited, (message, entry)) in self
            .messages
            .range::<str, _>((start, Bound::Unbounded))
            .enumerate()
        {
            let topic = message.0.topic();
            if !topic.starts_with(prefix) {
                break;
            }
            let matches = if all {
                !topic.starts_with('$')
            } else {
                parsed.matches(topic)
            };
            if entry.stamp <= until && matches {
                page.messages.push(message.0.clone());
            }
            if visited + 1 >= PAGE {
                page.after = Some(message.0.clone());
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
            .to_message(None, 1, Origin::Host, Tick(0), None)
    }

    fn topics(page: &[SharedMessage]) -> Vec<&str> {
        page.iter().map(|message| message.topic()).collect()
    }

    #[test]
    fn filters_find_what_they_match() {
        let mut store = Retained::default();
        for topic in ["a", "a/b", "a/c/d", "ab", "b", "$x/a"] {
            store.insert(message(topic), None);
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
            store.insert(message(&format!("t/{n:05}")), None);
        }
        let until = store.stamp();
        let first = store.page("t/+", None, until);
        assert_eq!(first.messages.len(), PAGE);
        store.insert(message("t/99999"), None);
        store.insert(message(&format!("t/{:05}", PAGE)), None);
        let second = store.page("t/+", first.after.as_deref(), until);
        assert_eq!(second.messages.len(), PAGE - 1);
        assert_eq!(store.count(), PAGE * 2 + 1);
    }

    #[test]
    fn accounting_is_exact() {
        let mut store = Retained::default();
        let first = message("a");
        let cost = first.cost();
        assert!(store.has_room(&first, 1, cost));
        store.insert(first.clone(), None);
        assert!(store.has_room(&first, 1, cost));
        assert!(!store.has_room(&message("b"), 1, cost * 2));
        assert!(!store.remove_exact(&message("a")));
        assert!(store.remove_exact(&first));
        assert_eq!((store.count(), store.bytes()), (0, 0));
    }
}
