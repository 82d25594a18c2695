//! The hooks of a script: they answer as the model says.

use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use midge_codec::{QoS, ReasonCode, SubscriptionOptions};
use midge_core::{
    ClientInfo, ConnectRequest, DeliveryVerdict, HookSet, Hooks, Interception, Message, MessageRef,
    Origin, OwnedMessage, Refusal, Resolver, Verdict,
};

use super::line::{Clock, lock};
use crate::model::{Access, Change, MARK_DELIVERY, MARK_PUBLISH, MARKS_AT, Manner, Name, WATCHER};

/// What a hook panics with on purpose.
pub(super) struct Deliberate;

/// Where a thread takes answers from that are to be given.
pub(super) type Answers = std::sync::mpsc::Sender<(Resolver, Says)>;

/// What a set of hooks says to a question; nothing if it has no opinion.
pub(super) type Says = Option<bool>;

/// Answers that are still to be given.
#[derive(Default)]
pub(super) struct Pending(Mutex<Vec<(Resolver, Says)>>);

impl Pending {
    /// Gives all answers; whether there was one.
    pub(super) fn answer_all(&self) -> bool {
        let mut any = false;
        loop {
            let next = lock(&self.0).pop();
            let Some((resolver, says)) = next else {
                return any;
            };
            any = true;
            give(resolver, says);
        }
    }

    fn add(&self, resolver: Resolver, says: Says) {
        lock(&self.0).push((resolver, says));
    }
}

/// Gives an answer.
pub(super) fn give(resolver: Resolver, says: Says) {
    match says {
        Some(true) => resolver.allow(),
        Some(false) => resolver.deny(Refusal::new(ReasonCode::NotAuthorized)),
        None => resolver.pass(),
    }
}

/// Rights to receive that are taken away and given back while a script runs.
#[derive(Debug)]
pub(super) struct Rights(Vec<AtomicBool>);

impl Rights {
    pub(super) fn new(clients: usize) -> Self {
        Self((0..clients).map(|_| AtomicBool::new(true)).collect())
    }

    pub(super) fn set(&self, client: usize, allowed: bool) {
        self.0[client].store(allowed, Ordering::SeqCst);
    }

    fn allows(&self, client_id: &str) -> bool {
        let index = client_id
            .strip_prefix('c')
            .and_then(|number| number.parse::<usize>().ok());
        index
            .and_then(|index| self.0.get(index))
            .is_none_or(|right| right.load(Ordering::SeqCst))
    }
}

/// A set of hooks of a script.
#[derive(Clone)]
pub(super) struct StressHooks {
    /// Its number among the sets.
    number: usize,
    pub(super) access: Access,
    pub(super) pending: Arc<Pending>,
    pub(super) rights: Arc<Rights>,
    pub(super) clock: Arc<Clock>,
    /// Deferred answers are given by the one that asks for them: see [`Pending`]. Otherwise at once,
    /// by a thread of their own.
    answers: Option<Answers>,
    /// How often they panicked.
    pub(super) panics: Arc<AtomicU64>,
}

impl StressHooks {
    pub(super) fn new(
        access: &Access,
        pending: &Arc<Pending>,
        rights: &Arc<Rights>,
        clock: &Arc<Clock>,
        answers: Option<Answers>,
    ) -> Self {
        Self {
            number: 0,
            access: access.clone(),
            pending: pending.clone(),
            rights: rights.clone(),
            clock: clock.clone(),
            answers,
            panics: Arc::default(),
        }
    }

    /// The sets that a script registers: none, one, or two that answer as one would.
    pub(super) fn sets(self) -> Vec<Arc<dyn Hooks>> {
        let count = match (self.access.is_any(), self.access.halves) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => 2,
        };
        let of = |number| {
            let set = Self {
                number,
                ..self.clone()
            };
            Arc::new(set) as Arc<dyn Hooks>
        };

        (0..count).map(of).collect()
    }

    /// Whether this set answers a question.
    fn decides(&self, what: &str, of: impl Hash) -> bool {
        self.access.is_of(self.number, what, of)
    }

    /// Panics without a message on the console.
    fn panic_on_purpose(&self) -> ! {
        self.panics.fetch_add(1, Ordering::SeqCst);
        std::panic::resume_unwind(Box::new(Deliberate))
    }

    fn answer(&self, says: Says, manner: Manner) -> Verdict {
        match manner {
            Manner::Panic if says.is_some() => self.panic_on_purpose(),
            Manner::Later => {
                let (resolver, verdict) = Verdict::defer();
                match &self.answers {
                    Some(answers) => {
                        let _ = answers.send((resolver, says)); // a dropped one means no
                    }
                    None => self.pending.add(resolver, says),
                }
                verdict
            }
            Manner::Now | Manner::Panic => match says {
                Some(true) => Verdict::Allow,
                Some(false) => Verdict::deny(),
                None => Verdict::Pass,
            },
        }
    }
}

/// A message with a mark in its payload.
fn marked(mut message: OwnedMessage, mark: u8) -> Box<OwnedMessage> {
    let mut payload = message.payload.to_vec();
    if let Some(byte) = payload.get_mut(MARKS_AT) {
        *byte |= mark;
    }
    message.payload = payload.into();
    Box::new(message)
}

impl Hooks for StressHooks {
    fn set(&self) -> HookSet {
        let mut set = HookSet::NONE;
        if self.access.authorizes {
            set = set
                .union(HookSet::AUTHENTICATE)
                .union(HookSet::AUTHORIZE_PUBLISH)
                .union(HookSet::AUTHORIZE_SUBSCRIBE);
        }
        if self.access.intercepts {
            set = set.union(HookSet::INTERCEPT_PUBLISH);
        }
        if self.access.receives {
            set = set.union(HookSet::AUTHORIZE_RECEIVE);
        }
        if self.access.delivers {
            set = set.union(HookSet::INTERCEPT_DELIVERY);
        }
        set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        if &*request.client.client_id == WATCHER {
            return Verdict::Allow;
        }
        // A user name differs for each connection, so that a client is not locked out for ever.
        let of = (
            &*request.client.client_id,
            request.client.username.as_deref(),
        );
        let (yes, manner) = match self.access.manner("authenticate", of) {
            Manner::Panic => (false, Manner::Now),
            manner => (true, manner),
        };
        self.answer(self.decides("authenticate", of).then_some(yes), manner)
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        let of = (&*client.client_id, message.topic);
        let yes = self.access.may_publish(&client.client_id, message.topic);
        let yes = self.decides("publish", of).then_some(yes);
        let Some((name, _)) = Name::read(message.payload) else {
            return self.answer(yes, Manner::Now);
        };
        let manner = match self.access.manner("publish", name) {
            // A panic on the way of the host's own message goes on to the host.
            Manner::Panic if name.kind == crate::model::Kind::Host => Manner::Now,
            Manner::Later if name.kind == crate::model::Kind::Host => Manner::Now,
            manner => manner,
        };
        self.answer(yes, manner)
    }

    fn authorize_subscribe(
        &self,
        client: &ClientInfo,
        filter: &str,
        options: &SubscriptionOptions,
    ) -> Verdict {
        if &*client.client_id == WATCHER {
            return Verdict::Allow;
        }
        let yes = self.access.may_subscribe(&client.client_id, filter);
        let of = (
            &*client.client_id,
            client.username.as_deref(),
            filter,
            options.qos as u8,
        );
        let yes = self.decides("subscribe", of).then_some(yes);
        self.answer(yes, self.access.manner("subscribe", of))
    }

    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        let client_id = &client.client_id;
        if !self.decides("receive", (client_id, message.topic)) {
            return true;
        }
        if self.access.receive_panics(client_id, message.topic) {
            self.panic_on_purpose();
        }
        self.access.may_receive(client_id, message.topic) && self.rights.allows(client_id)
    }

    fn intercept_publish(&self, _origin: &Origin, message: &MessageRef<'_>) -> Interception {
        if !self.decides("change", message.topic) {
            return Interception::Forward;
        }
        match self.access.change(message.topic) {
            Change::Forward => Interception::Forward,
            Change::Mark => Interception::Replace(marked(message.into(), MARK_PUBLISH)),
            Change::Drop => Interception::Drop,
            Change::Refuse => Interception::Refuse(Refusal::new(ReasonCode::NotAuthorized)),
        }
    }

    fn intercept_delivery(&self, client_id: &str, message: &Message, _qos: QoS) -> DeliveryVerdict {
        if !self.decides("delivery", (client_id, message.topic())) {
            return DeliveryVerdict::Deliver;
        }
        match self.access.delivery(client_id, message.topic()) {
            Change::Mark => {
                let mut owned = OwnedMessage::from(&message.parts(self.clock.now()));
                // A hook does not know the moment of its batch, and the clock may move while it
                // thinks: what is left of an interval would be counted from the wrong one.
                owned.expiry = None;
                DeliveryVerdict::Replace(marked(owned, MARK_DELIVERY))
            }
            Change::Drop => DeliveryVerdict::Drop,
            _ => DeliveryVerdict::Deliver,
        }
    }
}
