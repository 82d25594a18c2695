//! All sessions by client identifier.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashSet;

use super::Session;
use crate::sync::Hashing;

/// Each session once; its client identifier is in the session already.
#[derive(Debug, Default)]
pub(crate) struct Sessions(HashSet<ByClientId, Hashing>);

#[derive(Debug)]
struct ByClientId(Arc<Session>);

impl Borrow<str> for ByClientId {
    fn borrow(&self) -> &str {
        &self.0.client_id
    }
}

impl Hash for ByClientId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (*self.0.client_id).hash(state);
    }
}

impl PartialEq for ByClientId {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id == other.0.client_id
    }
}

impl Eq for ByClientId {}

impl Sessions {
    pub(crate) fn find(&self, client_id: &str) -> Option<&Arc<Session>> {
        self.0.get(client_id).map(|known| &known.0)
    }

    pub(crate) fn insert(&mut self, session: Arc<Session>) {
        self.0.replace(ByClientId(session));
    }

    pub(crate) fn remove(&mut self, client_id: &str) {
        self.0.remove(client_id);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.0.iter().map(|known| &known.0)
    }
}
