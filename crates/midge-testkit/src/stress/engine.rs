//! The broker under test: the core alone, or a whole one.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use midge_codec::{QoS, ReasonCode};
use midge_core::{Config, Hooks, Hub, OwnedMessage, Receipt, SessionView, Stats, Tick};

use super::line::{Clock, CoreLine, Line};
use super::pipe::PipeLine;
use super::script::{PeerPlan, Script};
use super::watcher::Inbox;
use super::whole::{Place, Whole};
use crate::model::Name;

/// The broker under test.
pub(super) enum Engine {
    /// The core, driven by the threads of the script.
    Core(Arc<Hub>),
    /// A broker with threads.
    Whole(Whole),
}

impl Engine {
    pub(super) fn start(
        place: Place,
        script: &Script,
        hooks: Vec<Arc<dyn Hooks>>,
    ) -> std::io::Result<Self> {
        if place != Place::Core {
            return Whole::start(place, script, hooks).map(Self::Whole);
        }
        let mut config = Config::default();
        script.configure(&mut config);
        Ok(Self::Core(Hub::new(config, hooks, None, "stress", Tick(0))))
    }

    pub(super) fn is_core(&self) -> bool {
        matches!(self, Self::Core(_))
    }

    pub(super) fn open(&self, plan: &PeerPlan, clock: &Arc<Clock>) -> Option<Box<dyn Line>> {
        match self {
            Self::Core(hub) => {
                let line = CoreLine::open(hub, clock, plan.eager, plan.telling)?;
                Some(Box::new(line))
            }
            Self::Whole(whole) => Some(Box::new(PipeLine::open(&whole.broker)?)),
        }
    }

    pub(super) fn publish(
        &self,
        (name, topic, retain): (Name, &str, bool),
        as_client: Option<&str>,
        clock: &Clock,
    ) -> Option<Receipt> {
        let mut message = OwnedMessage::new(topic, name.payload(0));
        message.qos = QoS::from_u8(name.qos).unwrap_or_default();
        message.retain = retain;
        let parts = message.parts();
        match self {
            Self::Core(hub) => hub
                .publish_from_host(parts, as_client, || clock.now(), true)
                .ok(),
            Self::Whole(whole) => whole.broker.publish_ref(parts, as_client, true).ok(),
        }
    }

    pub(super) fn clear_session(&self, client_id: &str, clock: &Clock) {
        match self {
            Self::Core(hub) => hub.clear_session(client_id, clock.now()),
            Self::Whole(whole) => whole.broker.clear_session(client_id),
        };
    }

    pub(super) fn disconnect(&self, client_id: &str, clock: &Clock) {
        let reason = ReasonCode::AdministrativeAction;
        match self {
            Self::Core(hub) => hub.disconnect(client_id, reason, clock.now()),
            Self::Whole(whole) => whole.broker.disconnect(client_id, reason),
        };
    }

    /// Moves the clock, one deadline after another. One thread at a time does.
    pub(super) fn advance(&self, clock: &Clock, ms: u64) {
        let target = clock.now().after_ms(ms);
        match self {
            Self::Core(hub) => {
                while let Some(next) = hub.next_deadline().filter(|next| *next <= target) {
                    // A deadline may be armed late; the clock does not go back for it.
                    let at = next.max(clock.now());
                    clock.set(at);
                    hub.fire(at);
                }
                clock.set(target);
                hub.fire(target);
            }
            Self::Whole(whole) => {
                whole.broker.clock().advance(Duration::from_millis(ms));
                clock.set(target);
            }
        }
    }

    pub(super) fn stats(&self, clock: &Clock) -> Stats {
        match self {
            Self::Core(hub) => hub.stats(clock.now()),
            Self::Whole(whole) => whole.broker.stats(),
        }
    }

    pub(super) fn sessions(&self) -> Vec<SessionView> {
        match self {
            Self::Core(hub) => hub.sessions(),
            Self::Whole(whole) => whole.broker.sessions(),
        }
    }

    /// The name of the retained message of a topic.
    pub(super) fn retained_on(&self, topic: &str, clock: &Clock) -> Option<Name> {
        let payload = match self {
            Self::Core(hub) => hub.retained_on(topic, clock.now())?.payload().to_vec(),
            Self::Whole(whole) => whole.broker.retained(topic).first()?.payload().to_vec(),
        };
        Name::read(&payload).map(|(name, _)| name)
    }

    /// Subscribes the host; it ends when what comes back is dropped.
    pub(super) fn observe(&self, filter: &str, inbox: &Arc<Inbox>) -> Option<Box<dyn Any>> {
        let qos = QoS::ExactlyOnce;
        match self {
            Self::Core(hub) => {
                let handle = hub.observe_messages(&[filter], qos, false, inbox.clone(), Tick(0));
                Some(Box::new(handle.ok()?))
            }
            Self::Whole(whole) => {
                let sink = super::watcher::Shared(inbox.clone());
                Some(Box::new(
                    whole
                        .broker
                        .subscribe_to(&[filter], qos, false, sink)
                        .ok()?,
                ))
            }
        }
    }

    /// Ends the broker; what is left of it.
    pub(super) fn dispose(self, clock: &Clock) -> Option<String> {
        match self {
            Self::Core(hub) => {
                hub.shut_down(clock.now());
                hub.dispose(clock.now());
                let weak = Arc::downgrade(&hub);
                drop(hub);
                let held = weak.strong_count();
                (held > 0).then(|| format!("the core is held {held} times"))
            }
            Self::Whole(whole) => {
                let left = whole.stop();
                (left > 0)
                    .then(|| format!("{left} connections are left when the broker has stopped"))
            }
        }
    }
}
