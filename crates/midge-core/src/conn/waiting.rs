//! Work that waits for the answer of a hook, charged and with a deadline for as long as it waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::handshake::Handshake;
use super::publish::HeldPublish;
use super::subscribe::{HeldSubscribe, HeldUnsubscribe};
use crate::budget::Charge;
use crate::hooks::{Answer, Awaiting, Deferred, Place};
use crate::hub::Hub;
use crate::message::OwnedMessage;
use crate::time::{Tick, TimerKey};

/// Memory of what waits beyond what came in the packet.
const WAITING: usize = 512;

/// Work that goes on after waiting.
pub(super) enum Then {
    MakeSubscriptions(Box<HeldSubscribe>),
    Unsubscribe(Box<HeldUnsubscribe>),
    Authenticated(Box<Handshake>),
    WillAuthorized(Box<Handshake>, Place),
    EnhancedAnswer(Box<Handshake>),
    ReAuthenticated,
    Publish(Box<HeldPublish>),
    Subscribe(Box<HeldSubscribe>),
}

impl Then {
    /// Bytes that it keeps of what came in.
    fn size(&self) -> usize {
        match self {
            Self::Authenticated(handshake)
            | Self::WillAuthorized(handshake, _)
            | Self::EnhancedAnswer(handshake) => handshake.size(),
            Self::ReAuthenticated => 0,
            Self::Publish(held) => held.size(),
            Self::Subscribe(held) | Self::MakeSubscriptions(held) => held.size(),
            Self::Unsubscribe(held) => held.size(),
        }
    }
}

/// The reason why a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The answer of a hook.
    Hook,
    /// That others have had their turn.
    Turn,
}

/// A step that goes on later.
pub(super) struct Waiting {
    then: Then,
    hook: Option<Asked>,
    _charge: Charge,
}

/// A hook that thinks, with its deadline.
struct Asked {
    hub: Arc<Hub>,
    answer: Awaiting,
    deadline: TimerKey,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.hub.env.timers.cancel(self.deadline);
        // An answer has no effect any more.
        self.answer.0.expire();
    }
}

impl Waiting {
    /// Waits for a hook, unless no more memory may be held: then the step comes back.
    pub(super) fn new(
        hub: &Arc<Hub>,
        deferred: Deferred,
        then: Then,
        now: Tick,
    ) -> Result<Box<Self>, Then> {
        let Some(charge) = hub.try_hold_input(WAITING + then.size()) else {
            deferred.expire();
            return Err(then);
        };

        let asked = Asked {
            hub: hub.clone(),
            deadline: hub.limit(&deferred, now),
            answer: Awaiting(deferred),
        };

        Ok(Box::new(Self {
            then,
            hook: Some(asked),
            _charge: charge,
        }))
    }

    /// Waits until others have had their turn. The work that goes on was accepted before.
    pub(super) fn turn(hub: &Hub, then: Then) -> Box<Self> {
        let charge = hub.hold_input(WAITING + then.size());
        Box::new(Self {
            then,
            hook: None,
            _charge: charge,
        })
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut self.hook {
            Some(asked) => Pin::new(&mut asked.answer).poll(cx),
            None => Poll::Ready(Answer::Allow),
        }
    }

    pub(super) fn is_turn(&self) -> bool {
        self.hook.is_none()
    }

    /// The step that goes on, and what it has waited for.
    pub(super) fn end(self) -> (Wait, Then) {
        let wait = match self.hook {
            Some(_) => Wait::Hook,
            None => Wait::Turn,
        };
        (wait, self.then)
    }
}

/// Bytes that a message takes that is kept as a whole.
pub(super) fn message_size(message: &OwnedMessage) -> usize {
    let properties = message.properties.as_properties();
    size_of::<OwnedMessage>()
        + message.topic.len()
        + message.payload.len()
        + properties.as_bytes().len()
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::Connection;
    use super::*;
    use crate::budget::Part;
    use crate::config::Config;
    use crate::flush::Flush;
    use crate::hooks::{ConnectRequest, HookSet, Hooks, Resolver, Verdict};
    use crate::sync::Mutex;

    #[derive(Default)]
    struct Slow(Mutex<Vec<Resolver>>);

    impl Hooks for Slow {
        fn set(&self) -> HookSet {
            HookSet::AUTHENTICATE
        }

        fn authenticate(&self, _: &ConnectRequest) -> Verdict {
            let (resolver, verdict) = Verdict::defer();
            self.0.lock().push(resolver);
            verdict
        }
    }

    struct Unflushed;

    impl Flush for Unflushed {
        fn flush(&self) {}
    }

    const NOW: Tick = Tick(7);
    const CONNECT: [u8; 15] = [
        0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'c',
    ];

    #[test]
    fn an_answer_takes_its_deadline_and_its_memory_along() {
        let slow = Arc::new(Slow::default());
        let mut config = Config::default();
        config.sys.interval_s = 0;
        let hub = Hub::new(config, [slow.clone() as _], None, "", NOW);
        let budget = &hub.env.budget;
        let connect = || {
            let io = Arc::new(Unflushed);
            let link = hub.accept("".into(), "".into(), io, NOW).unwrap();
            let mut connection = Connection::new(hub.clone(), link);
            connection.receive(&CONNECT, None, NOW);
            assert!(connection.is_waiting() && budget.of(Part::Input) > WAITING);
            connection
        };

        // Keep Alive is 0: once it is connected there is nothing to wait for.
        let mut connection = connect();
        let resolver = slow.0.lock().pop().unwrap();
        resolver.allow();
        let mut context = Context::from_waker(Waker::noop());
        assert!(connection.poll(&mut context, NOW).is_ready());
        assert!(connection.link().has_session());
        assert_eq!((hub.next_deadline(), budget.of(Part::Input)), (None, 0));

        // One that goes while the hook thinks leaves nothing, either, and its answer is not awaited.
        let waiting = connect();
        let link = waiting.link().clone();
        let resolver = slow.0.lock().pop().unwrap();
        assert!(resolver.is_open());
        drop(waiting);
        assert!(!resolver.is_open());
        hub.closed(&link, NOW);
        assert_eq!((hub.next_deadline(), budget.of(Part::Input)), (None, 0));
    }

    #[test]
    fn a_refused_client_is_forgotten() {
        let hub = Hub::new(Config::default(), None, None, "", NOW);
        let link = hub.accept("".into(), "".into(), Arc::new(Unflushed), NOW);
        let link = link.unwrap();
        let mut connection = Connection::new(hub.clone(), link.clone());
        // No client identifier, and no clean session.
        let refused = b"\x10\x0f\0\x04MQTT\x04\x80\0\0\0\0\0\x01u";
        connection.receive(refused, None, NOW);
        assert!(link.ended().is_some() && link.caller().is_none());
    }
}
