//! The retained messages that match a filter, page by page.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use midge_codec::TopicFilter;
use smallvec::SmallVec;

use super::{Entry, Retained, level_count};
use crate::message::SharedMessage;
use crate::steps;
use crate::subscription::has_wildcards;

/// Messages of one page.
const PAGE: usize = 512;
/// Bytes of topics and payloads after which a page ends: so much a connection takes at once.
const PAGE_BYTES: usize = 64 * 1024;
/// Places looked at for one page, which bounds the time under the lock: a page may be empty and not
/// the last one.
const STEPS: usize = 1024;
/// A filter whose literal beginning leads to so few topics is answered by looking at all of them.
const FEW: usize = 64;

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind this topic, in the order of topics.
    Behind(Arc<str>),
    /// At this place among the topics with so many levels.
    At { levels: usize, at: u32 },
}

/// A part of the answer to a new subscription.
pub(crate) struct Page {
    pub(crate) messages: Vec<SharedMessage>,
    /// Where each message was found, for those that are not found by topic.
    places: Vec<u32>,
    /// Where the next page begins, `None` at the end.
    pub(crate) next: Option<Place>,
    bytes: usize,
    /// Places looked at.
    pub(crate) steps: usize,
}

impl Page {
    fn new() -> Self {
        Self {
            messages: Vec::new(),
            places: Vec::new(),
            next: None,
            bytes: 0,
            steps: 1,
        }
    }

    /// Where to go on behind a message of this page.
    pub(crate) fn place_behind(&self, index: usize) -> Option<Place> {
        let message = self.messages.get(index)?;
        match self.places.get(index) {
            Some(at) => Some(Place::At {
                levels: level_count(message.topic()),
                at: at + 1,
            }),
            None => Some(Place::Behind(message.shared_topic().cloned()?)),
        }
    }

    /// Adds a message; whether the page is full.
    fn add(&mut self, message: &SharedMessage) -> ControlFlow<()> {
        self.bytes += message.topic().len() + message.payload().len();
        self.messages.push(message.clone());
        if self.messages.len() >= PAGE || self.bytes >= PAGE_BYTES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Retained {
    /// The next messages that match a filter (without share part) and were retained no later than
    /// `until`. A page may have no messages and not be the last one.
    pub(crate) fn page(&self, filter: &str, from: Option<&Place>, until: u64) -> Page {
        let _section = steps::section(steps::Section::Retained);
        if self.places.is_empty() {
            return Page::new();
        }

        let Ok(parsed) = TopicFilter::new(filter) else {
            return Page::new();
        };

        let subtree = filter.strip_suffix("/#").filter(|top| !has_wildcards(top));
        if !has_wildcards(filter) {
            return self.exact(filter, until);
        }
        if filter == "#" {
            return self.everything(from, until);
        }
        if let Some(top) = subtree {
            return self.subtree(top, from, until);
        }

        let few = match from {
            None | Some(Place::Behind(_)) => self.few(&parsed, from, until),
            Some(Place::At { .. }) => None,
        };

        few.unwrap_or_else(|| self.by_levels(&parsed, from, until))
    }

    fn exact(&self, topic: &str, until: u64) -> Page {
        let mut page = Page::new();
        steps::add(1);
        let found = self.entry(topic).filter(|entry| entry.stamp <= until);
        page.messages = found
            .map(|entry| entry.message.clone())
            .into_iter()
            .collect();
        page
    }

    /// Matches of `top/#`: `top` itself and everything below it.
    fn subtree(&self, top: &str, from: Option<&Place>, until: u64) -> Page {
        let mut page = match from {
            None => self.exact(top, until),
            Some(_) => Page::new(),
        };
        let below = format!("{top}/");
        let start = match from {
            Some(Place::Behind(topic)) if **topic > *below => Bound::Excluded(&**topic),
            _ => Bound::Included(&*below),
        };
        let range = self.places.range::<str, _>((start, Bound::Unbounded));
        let range = range.take_while(|(topic, _)| topic.starts_with(&below));
        self.by_topic(range, until, &mut page);
        page
    }

    /// Matches of `#`: all but what begins with `$` (MQTT-4.7.2-1).
    fn everything(&self, from: Option<&Place>, until: u64) -> Page {
        let mut page = Page::new();
        let start = match from {
            Some(Place::Behind(topic)) => Bound::Excluded(&**topic),
            _ => Bound::Unbounded,
        };

        let behind_dollar = Bound::Included("%");
        if from.is_none() || matches!(start, Bound::Excluded(topic) if topic < "$") {
            let before = (start, Bound::Excluded("$"));
            self.by_topic(self.places.range::<str, _>(before), until, &mut page);
            if page.next.is_some() {
                return page;
            }
        }

        let start = match start {
            Bound::Excluded(topic) if topic > "$" => start,
            _ => behind_dollar,
        };

        let after = (start, Bound::Unbounded);
        self.by_topic(self.places.range::<str, _>(after), until, &mut page);
        page
    }

    fn by_topic<'a>(
        &self,
        range: impl Iterator<Item = (&'a Arc<str>, &'a u32)>,
        until: u64,
        page: &mut Page,
    ) {
        for (looked_at, (topic, at)) in range.enumerate() {
            steps::add(1);
            page.steps += 1;
            let entry = self.at(topic, *at).filter(|entry| entry.stamp <= until);
            let full = entry.is_some_and(|entry| page.add(&entry.message).is_break());
            if full || looked_at + 1 >= STEPS {
                page.next = Some(Place::Behind(topic.clone()));
                return;
            }
        }
    }

    /// The answer to a filter whose literal beginning leads to few topics; the rest of it, if it was
    /// begun so.
    fn few(&self, filter: &TopicFilter<'_>, from: Option<&Place>, until: u64) -> Option<Page> {
        let text = filter.filter();
        let beginning = text.get(..text.find(['+', '#'])?)?;
        if beginning.is_empty() {
            return None;
        }

        let start = match from {
            Some(Place::Behind(topic)) => Bound::Excluded(&**topic),
            _ => Bound::Included(beginning),
        };

        let mut page = Page::new();
        let range = (self.places).range::<str, _>((start, Bound::Unbounded));
        let range = range.take_while(|(topic, _)| topic.starts_with(beginning));
        for (looked_at, (topic, at)) in range.enumerate() {
            steps::add(1);
            page.steps += 1;
            if looked_at >= FEW && from.is_none() {
                return None;
            }
            let entry = self.at(topic, *at).filter(|entry| entry.stamp <= until);
            let matching = entry.filter(|_| filter.matches(topic));
            let full = matching.is_some_and(|entry| page.add(&entry.message).is_break());
            if full || looked_at + 1 >= STEPS {
                page.next = Some(Place::Behind(topic.clone()));
                break;
            }
        }

        Some(page)
    }

    /// The answer to a filter with `+`, by the texts and positions of its other levels.
    fn by_levels(&self, filter: &TopicFilter<'_>, from: Option<&Place>, until: u64) -> Page {
        let text = filter.filter();
        let mut page = Page::new();
        let mut hashes: SmallVec<[u32; 8]> = SmallVec::new();
        let (mut levels, mut open) = (0, false);
        for level in text.split('/') {
            steps::add(1);
            page.steps += 1;
            match level {
                "#" => open = true,
                "+" => levels += 1,
                level => {
                    hashes.push(self.hash(levels, level));
                    levels += 1;
                }
            }
        }

        let shelves = self.shelves(text);
        let last = if open { shelves.len() } else { levels + 1 };
        let (first, mut at) = match from {
            Some(Place::At { levels, at }) => (*levels, *at),
            _ => (levels, 0),
        };
        let mut budget = STEPS;
        for (levels, shelf) in shelves.iter().enumerate().take(last).skip(first) {
            steps::add(1);
            let visit = |at: u32, entry: &Entry| {
                let matches = entry.stamp <= until && filter.matches(entry.message.topic());
                if !matches {
                    return ControlFlow::Continue(());
                }
                page.places.push(at);
                page.add(&entry.message)
            };
            if let Some(at) = shelf.walk(&hashes, at, &mut budget, visit) {
                page.next = Some(Place::At { levels, at });
                break;
            }
            at = 0;
        }
        page.steps += STEPS - budget;
        page
    }
}
