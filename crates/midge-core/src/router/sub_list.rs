//! The subscriptions of many to one filter.

use std::ops::Deref;

use hashbrown::HashMap;

use super::{Sub, Subscriber};
use crate::steps;
use crate::sync::Hashing;

/// Subscriptions from which on they are found by subscriber.
const MANY: usize = 32;

/// Subscriptions, each of another subscriber, which are found in one step however many they are.
#[derive(Debug, Default)]
pub(super) struct SubList {
    subs: Vec<Sub>,
    /// Places by subscriber, if there have been many.
    #[allow(clippy::box_collection)] // there are many lists, and few have it
    places: Option<Box<HashMap<u64, u32, Hashing>>>,
}

impl Deref for SubList {
    type Target = [Sub];

    fn deref(&self) -> &[Sub] {
        &self.subs
    }
}

impl SubList {
    pub(super) fn place(&self, subscriber: &Subscriber) -> Option<usize> {
        let key = subscriber.key();
        if let Some(places) = &self.places {
            steps::add(1);
            return places.get(&key).map(|at| *at as usize);
        }
        steps::add(self.subs.len());
        self.subs.iter().position(|sub| sub.subscriber.key() == key)
    }

    /// Adds a subscription, or replaces the one of the same subscriber.
    pub(super) fn insert(&mut self, sub: Sub) {
        if let Some(known) = self.place(&sub.subscriber) {
            if let Some(place) = self.subs.get_mut(known) {
                *place = sub;
            }
            return;
        }
        if let Some(places) = &mut self.places {
            places.insert(sub.subscriber.key(), self.subs.len() as u32);
        }
        self.subs.push(sub);
        if self.places.is_none() && self.subs.len() > MANY {
            let places = (0..).zip(&self.subs);
            let places = places.map(|(at, sub)| (sub.subscriber.key(), at));
            self.places = Some(Box::new(places.collect()));
        }
    }

    /// Removes the subscription of a subscriber. The last one takes its place.
    pub(super) fn remove(&mut self, subscriber: &Subscriber) {
        let Some(at) = self.place(subscriber) else {
            return;
        };
        self.subs.swap_remove(at);
        if let Some(places) = &mut self.places {
            places.remove(&subscriber.key());
            if let Some(moved) = self.subs.get(at) {
                places.insert(moved.subscriber.key(), at as u32);
            }
        }
    }

    /// Takes the last one out.
    pub(super) fn pop(&mut self) -> Option<Sub> {
        self.places = None;
        self.subs.pop()
    }
}

impl From<[Sub; 2]> for SubList {
    fn from(subs: [Sub; 2]) -> Self {
        Self {
            subs: subs.into(),
            places: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::session::Session;
    use crate::subscription::SubRecord;

    #[test]
    fn subscribers_are_found_however_many_there_are() {
        let subscribers: Vec<_> = (0..MANY * 3)
            .map(|n| {
                Subscriber::Session(Arc::new(Session::new(n.to_string().into(), None, n as u64)))
            })
            .collect();
        let sub = |subscriber: &Subscriber, id| {
            let record = SubRecord {
                id,
                ..SubRecord::default()
            };
            Sub::new(subscriber.clone(), record)
        };

        let mut list = SubList::default();
        for id in [1, 2] {
            for subscriber in &subscribers {
                list.insert(sub(subscriber, id));
            }
            assert_eq!(list.len(), subscribers.len());
        }

        for (gone, subscriber) in subscribers.iter().enumerate().rev().step_by(2) {
            list.remove(subscriber);
            list.remove(subscriber);
            assert!(list.place(subscriber).is_none());
            let left = subscribers.get(gone.saturating_sub(1)).unwrap();
            let place = list.place(left).unwrap();
            assert!(list[place].subscriber.same(left) && list[place].id == 2);
        }

        assert_eq!(list.len(), subscribers.len() / 2);

        // What comes in while others leave is found, too.
        let last = list.pop().unwrap().subscriber;
        assert!(list.place(&last).is_none());
        list.insert(sub(&last, 3));
        assert_eq!(list[list.place(&last).unwrap()].id, 3);
        while list.pop().is_some() {}
        assert!(list.is_empty());
    }
}
