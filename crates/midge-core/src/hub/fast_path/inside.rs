//! From the host to itself: messages that only its own subscriptions get. They need no clock, no
//! session and no decision, and there may be millions of them a second.

use crate::sync::atomic::Ordering;

use crate::hub::Hub;
use crate::hub::host::HostScratch;
use crate::message::{Account, MessageRef, Origin, SharedMessage};
use crate::observer::{ObserverKey, Received};
use crate::reason::DropReason;
use crate::router::{SubTarget, Subscriber, Target};
use crate::time::Tick;

/// Whether all receivers are subscriptions of the host.
pub(in crate::hub) fn is_inside(targets: &[Target]) -> bool {
    let inside = |target: &Target| as_observer(target).is_some();
    !targets.is_empty() && targets.iter().all(inside)
}

fn as_observer(target: &Target) -> Option<(&SubTarget, ObserverKey)> {
    match target {
        Target::One(target) => match &target.subscriber {
            Subscriber::Observer(key) => Some((target, *key)),
            Subscriber::Session(_) => None,
        },
        Target::Group(_) => None,
    }
}

impl Hub {
    /// Publishes a valid message of the host as the one before it with this topic name, if that
    /// stayed inside: the number of receivers, or `None` if it is not as simple as that.
    pub(in crate::hub) fn publish_inside(
        &self,
        scratch: &mut HostScratch,
        message: &MessageRef<'_>,
        prepared: Option<&SharedMessage>,
    ) -> Option<usize> {
        let route = self.eligible_inside(&scratch.cache, message)?;
        let router = self.router.read();
        if router.generation() != route.generation {
            return None;
        }

        let (topic, origin) = (Some(&route.topic), Origin::Host);
        let make = || message.keep(topic, 0, origin, Tick::NEVER, None, Account::Host);
        let mut kept = Some(prepared.cloned().unwrap_or_else(make));
        let mut left = route.targets.len();
        for (target, key) in route.targets.iter().filter_map(as_observer) {
            left -= 1;
            let Some(observer) = router.observers.get(key) else {
                continue;
            };
            let message = if left == 0 { kept.take() } else { kept.clone() };
            let Some(message) = message else { break };
            let qos = message.qos().min(target.qos);
            let (lost, awaited) = observer.push(Received::new(message, false, qos, None));
            if awaited {
                scratch.batch.observers.push(observer.clone());
            }
            if lost > 0 {
                let counters = &self.env.counters;
                counters.count_drops(DropReason::ObserverFull, lost as u64);
            }
        }

        drop(router);

        let counters = &self.env.counters;
        counters.publish_received.fetch_add(1, Ordering::Relaxed);

        let bytes = message.payload.len() as u64;
        counters
            .publish_bytes_received
            .fetch_add(bytes, Ordering::Relaxed);
        if !scratch.batch.observers.is_empty() {
            for observer in scratch.batch.observers.drain(..) {
                observer.wake();
            }
        }

        Some(route.targets.len())
    }
}
