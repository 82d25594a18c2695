//! The registered sets of hooks, in their order.

use std::sync::Arc;

use super::{Deferred, HookSet, Hooks, Refusal};

/// All sets that are registered. Their order is that of registration.
pub(crate) struct Chain {
    members: Box<[Member]>,
    /// What any of them is called for.
    set: HookSet,
}

struct Member {
    set: HookSet,
    hooks: Arc<dyn Hooks>,
}

/// A place in a [`Chain`]: before its first set, behind its last one, or between two.
pub(crate) type Place = usize;

/// Before the first set.
pub(crate) const FIRST: Place = 0;

/// What the sets of a chain say together.
#[derive(Debug)]
pub(crate) enum Said {
    Yes,
    No(Refusal),
    /// One of them answers later; asking goes on behind it.
    Later(Deferred, Place),
}

impl Chain {
    pub(crate) fn new(sets: impl IntoIterator<Item = Arc<dyn Hooks>>) -> Self {
        let member = |hooks: Arc<dyn Hooks>| Member {
            set: hooks.set(),
            hooks,
        };
        let members: Box<[_]> = sets.into_iter().map(member).collect();
        let union = |all: HookSet, member: &Member| all.union(member.set);

        Self {
            set: members.iter().fold(HookSet::NONE, union),
            members,
        }
    }

    /// The hooks that any set is called for.
    pub(crate) fn set(&self) -> HookSet {
        self.set
    }

    /// Whether any set is called for any hook of `hook`.
    #[inline]
    pub(crate) fn intersects(&self, hook: HookSet) -> bool {
        self.set.intersects(hook)
    }

    /// The sets from a place on that are called for `hook`, each with the place behind it.
    #[inline(always)]
    pub(crate) fn asked(
        &self,
        place: Place,
        hook: HookSet,
    ) -> impl Iterator<Item = (&dyn Hooks, Place)> {
        let members = self.members.get(place..).unwrap_or_default();
        (place + 1..)
            .zip(members)
            .filter(move |(_, member)| member.set.intersects(hook))
            .map(|(behind, member)| (&*member.hooks, behind))
    }

    /// The set before a place.
    pub(crate) fn before(&self, place: Place) -> Option<&dyn Hooks> {
        let member = self.members.get(place.checked_sub(1)?)?;

        Some(&*member.hooks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Of(HookSet);

    impl Hooks for Of {
        fn set(&self) -> HookSet {
            self.0
        }
    }

    fn chain(sets: &[HookSet]) -> Chain {
        Chain::new(sets.iter().map(|set| Arc::new(Of(*set)) as Arc<dyn Hooks>))
    }

    #[test]
    fn sets_are_united_and_asked_in_their_order() {
        let (life, receive) = (HookSet::LIFE, HookSet::AUTHORIZE_RECEIVE);
        let chain = chain(&[life, receive, HookSet::NONE, life.union(receive)]);
        assert_eq!(chain.set(), life.union(receive));
        assert!(chain.intersects(life) && !chain.intersects(HookSet::AUTHENTICATE));

        let places = |place, hook| -> Vec<Place> {
            let asked = chain.asked(place, hook);
            asked.map(|(_, behind)| behind).collect()
        };
        assert_eq!(places(FIRST, life), [1, 4]);
        assert_eq!(places(FIRST, receive), [2, 4]);
        assert_eq!(places(2, receive), [4]);
        assert!(places(4, life).is_empty() && places(9, life).is_empty());
        assert!(places(FIRST, HookSet::AUTHENTICATE).is_empty());
    }

    #[test]
    fn an_empty_chain_is_called_for_nothing() {
        let chain = chain(&[]);
        assert_eq!(chain.set(), HookSet::NONE);
        assert!(chain.asked(FIRST, HookSet::ALL).next().is_none());
        assert!(chain.before(FIRST).is_none() && chain.before(1).is_none());
    }
}
