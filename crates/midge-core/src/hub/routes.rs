//! What a publisher remembers: its last topics with their resolved receivers.

use std::sync::Arc;

use crate::router::{Router, Subscriber, Target};
use crate::session::Session;

/// The last topics of a publisher with their resolved receivers.
#[derive(Default)]
pub(crate) struct RouteCache {
    routes: Vec<Route>,
    /// The route that was used last.
    last: usize,
}

pub(super) struct Route {
    pub(super) topic: Arc<str>,
    pub(super) generation: u64,
    pub(super) targets: Vec<Target>,
    /// All receivers get messages as they came, or are shared groups.
    pub(super) plain: bool,
    /// Some receivers keep messages of any QoS.
    pub(super) kept: bool,
    /// All receivers are the host's own.
    pub(super) inside: bool,
}

/// Topics remembered per publisher.
const CACHED_ROUTES: usize = 4;

impl Route {
    fn new(topic: Arc<str>, router: &Router, publisher: Option<&Arc<Session>>) -> Self {
        let targets = router.resolve(&topic, publisher);
        Self {
            generation: router.generation(),
            inside: super::inside::is_inside(&targets),
            kept: targets.iter().any(|target| match target {
                Target::One(target) => matches!(target.subscriber, Subscriber::Observer(_)),
                Target::Group(_) => true,
            }),
            plain: targets.iter().all(super::run::is_plain),
            topic,
            targets,
        }
    }
}

impl RouteCache {
    /// The route of the message before.
    pub(super) fn last(&self) -> Option<&Route> {
        self.routes.get(self.last)
    }

    /// Whether messages with this topic name were routed before: it is valid then.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.last().is_some_and(|route| *route.topic == *topic)
    }

    pub(super) fn route(
        &mut self,
        topic: &str,
        router: &Router,
        publisher: Option<&Arc<Session>>,
    ) -> &Route {
        match self.routes.iter().position(|route| *route.topic == *topic) {
            Some(at) => {
                let route = &mut self.routes[at];
                if route.generation != router.generation() {
                    let topic = route.topic.clone();
                    *route = Route::new(topic, router, publisher);
                }
                self.last = at;
            }
            None => {
                let route = Route::new(topic.into(), router, publisher);
                if self.routes.len() < CACHED_ROUTES {
                    self.routes.push(route);
                    self.last = self.routes.len() - 1;
                } else {
                    self.last = (self.last + 1) % CACHED_ROUTES;
                    self.routes[self.last] = route;
                }
            }
        }
        &self.routes[self.last]
    }
}
