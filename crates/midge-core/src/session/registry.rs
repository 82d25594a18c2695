//! All sessions by client identifier.

use std::sync::Arc;

use super::Session;
use crate::parts::{Keyed, Parts};

/// Each session once; its client identifier is in the session already.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Parts<Arc<Session>>);

impl Keyed for Arc<Session> {
    fn key(&self) -> &str {
        &self.client_id
    }
}

impl Sessions {
    pub(crate) fn find(&self, client_id: &str) -> Option<&Arc<Session>> {
        self.0.get(client_id)
    }

    pub(crate) fn insert(&mut self, session: Arc<Session>) {
        self.0.insert(session);
    }

    /// Removes this very session, if it is still there.
    pub(crate) fn remove(&mut self, session: &Arc<Session>) {
        let is_it = |known: &Arc<Session>| Arc::ptr_eq(known, session);
        self.0.remove_if(&session.client_id, is_it);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.0.iter()
    }

    /// The number of parts that the sessions can be looked through in. It changes seldom.
    pub(crate) fn parts(&self) -> usize {
        self.0.count()
    }

    pub(crate) fn part(&self, number: usize) -> impl Iterator<Item = &Arc<Session>> {
        self.0.part_at(number)
    }
}
