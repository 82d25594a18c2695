//! The memory of a publisher: topics that it used more than once lately, with their resolved
//! receivers.

use std::ops::Deref;
use std::sync::Arc;

use crate::budget::{Budget, Charge, Part};
use crate::router::{Router, Subscriber, Target};

/// Topics of a publisher with their resolved receivers. A topic that comes for the first time is only
/// noted: many publishers never use one again.
#[derive(Default)]
pub(crate) struct RouteCache {
    routes: Vec<Route>,
    /// The route that was used last.
    last: u8,
    /// The next place in `noted`.
    turn: u8,
    /// Parts of the hashes of topics that came lately. If two are the same, one is remembered early.
    noted: [u8; NOTED],
}

pub(super) struct Route {
    pub(super) topic: Arc<str>,
    pub(super) generation: u64,
    pub(super) targets: Targets,
    /// All receivers get messages as they came, or are shared groups.
    pub(super) verbatim: bool,
    /// Some receivers are shared groups.
    pub(super) grouped: bool,
    /// Some receivers keep messages of any QoS.
    pub(super) needs_shared_message: bool,
    /// All receivers are the host's own.
    pub(super) inside: bool,
    /// For more than a connection has without.
    _charge: Option<Charge>,
}

/// Mostly there is one, which needs no memory of its own.
pub(super) enum Targets {
    One([Target; 1]),
    Any(Vec<Target>),
}

impl From<Vec<Target>> for Targets {
    fn from(targets: Vec<Target>) -> Self {
        match <[Target; 1]>::try_from(targets) {
            Ok(one) => Self::One(one),
            Err(targets) => Self::Any(targets),
        }
    }
}

impl Deref for Targets {
    type Target = [Target];

    #[inline]
    fn deref(&self) -> &[Target] {
        match self {
            Self::One(one) => one,
            Self::Any(targets) => targets,
        }
    }
}

/// Topics remembered per publisher.
const CACHED_ROUTES: usize = 4;
/// Topics noted per publisher.
const NOTED: usize = 6;

/// Bytes of a remembered route that a connection has without a charge.
const FREE: usize = 192;

/// Bytes of a shared group without members, beyond its filter.
const GROUP: usize = 192;

impl Route {
    /// `None` if no more memory may be held.
    fn new(
        topic: Arc<str>,
        router: &Router,
        publisher: Option<&str>,
        budget: &Arc<Budget>,
    ) -> Option<Self> {
        let targets = router.resolve(&topic, publisher);

        // A group without members lives on with the routes that know it.
        let groups = targets.iter().map(|target| match target {
            Target::Group(group) => GROUP + group.filter.len(),
            Target::One(_) => 0,
        });

        let bytes = topic.len() + targets.capacity() * size_of::<Target>() + groups.sum::<usize>();
        let charge = match bytes > FREE {
            true => Some(budget.try_hold(Part::Connections, bytes)?),
            false => None,
        };

        Some(Self {
            _charge: charge,
            generation: router.generation(),
            inside: super::fast_path::inside::is_inside(&targets),
            needs_shared_message: targets.iter().any(|target| match target {
                Target::One(target) => matches!(target.subscriber, Subscriber::Observer(_)),
                Target::Group(_) => true,
            }),
            verbatim: targets.iter().all(super::fast_path::run::forwards_verbatim),
            grouped: (targets.iter()).any(|target| matches!(target, Target::Group(_))),
            topic,
            targets: targets.into(),
        })
    }
}

impl RouteCache {
    /// The route of the message before.
    pub(super) fn last(&self) -> Option<&Route> {
        self.routes.get(usize::from(self.last))
    }

    /// Whether messages with this topic name were routed before: it is valid then.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.last().is_some_and(|route| *route.topic == *topic)
    }

    /// The route of a topic, unless it comes for the first time: then the hash of the topic, which is
    /// to be resolved once.
    #[inline]
    pub(super) fn route(
        &mut self,
        topic: &str,
        router: &Router,
        publisher: Option<&str>,
        budget: &Arc<Budget>,
    ) -> Result<&Route, u64> {
        let known = self.routes.iter().position(|route| *route.topic == *topic);
        let at = match known {
            Some(at) => self.renew(at, router, publisher, budget),
            None => {
                let hash = router.hash(topic);
                if !self.came_before(hash) {
                    return Err(hash);
                }
                self.remember(topic, router, publisher, budget)
            }
        };

        let Some(at) = at else {
            return Err(router.hash(topic));
        };
        self.last = at as u8;
        self.routes.get(at).ok_or_else(|| router.hash(topic))
    }

    /// Resolves a known route again if subscriptions have changed; `None` if no memory may be held
    /// for it any more.
    #[inline]
    fn renew(
        &mut self,
        at: usize,
        router: &Router,
        publisher: Option<&str>,
        budget: &Arc<Budget>,
    ) -> Option<usize> {
        let route = self.routes.get_mut(at)?;
        if route.generation == router.generation() {
            return Some(at);
        }

        let again = Route::new(route.topic.clone(), router, publisher, budget);
        match again {
            Some(again) => {
                *route = again;
                Some(at)
            }
            None => {
                self.routes.swap_remove(at);
                self.last = 0;
                None
            }
        }
    }

    /// Remembers one more topic, in place of another one if there are many.
    fn remember(
        &mut self,
        topic: &str,
        router: &Router,
        publisher: Option<&str>,
        budget: &Arc<Budget>,
    ) -> Option<usize> {
        let route = Route::new(topic.into(), router, publisher, budget)?;
        if self.routes.len() < CACHED_ROUTES {
            self.routes.push(route);
            return Some(self.routes.len() - 1);
        }

        let at = (usize::from(self.last) + 1) % CACHED_ROUTES;
        *self.routes.get_mut(at)? = route;
        Some(at)
    }

    /// Whether a topic with this hash came lately. It is noted.
    fn came_before(&mut self, hash: u64) -> bool {
        let part = (hash >> 56) as u8;
        let came = self.noted.contains(&part);
        if !came && let Some(place) = self.noted.get_mut(usize::from(self.turn)) {
            *place = part;
            self.turn = (self.turn + 1) % NOTED as u8;
        }
        came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(cache: &mut RouteCache, router: &Router, topic: &str) -> bool {
        let known = cache.route(topic, router, None, &Budget::new(0)).is_ok();
        assert!(!known || cache.knows(topic));
        known
    }

    #[test]
    fn a_topic_is_remembered_when_it_comes_again() {
        let (mut cache, router) = (RouteCache::default(), Router::default());

        // Two whose hashes have a part in common: the second one would be remembered early.
        let part = |topic: &str| router.hash(topic) >> 56;
        let names = (0..).map(|n| format!("t/{n}"));
        let mut topics: Vec<String> = Vec::new();
        for name in names {
            if part(&name) != 0 && topics.iter().all(|known| part(known) != part(&name)) {
                topics.push(name);
            }
            if topics.len() == CACHED_ROUTES {
                break;
            }
        }

        for (round, known) in [false, true, true].into_iter().enumerate() {
            for topic in &topics {
                assert_eq!(knows(&mut cache, &router, topic), known, "{round}");
            }
        }

        let topic = cache.last().map(|route| &*route.topic);
        assert_eq!(topic, topics.last().map(String::as_str));
    }

    #[test]
    fn few_topics_that_never_come_again_are_remembered() {
        let (mut cache, router) = (RouteCache::default(), Router::default());
        let remembered = (0..1_000)
            .filter(|n| knows(&mut cache, &router, &format!("once/{n}")))
            .count();
        assert!(remembered < 200, "{remembered}");
        assert!(cache.routes.len() <= CACHED_ROUTES);
    }
}
