//! A subscription of the host that checks that it is woken.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use midge_core::{Pushed, Received};

use super::line::lock;
use super::world::World;
use crate::model::{
    Check, ClientHistory, Delivery, Finding, NEVER, Name, SessionFact, Span, SubscriptionFact,
};

/// A message as it was pushed.
struct Pushing {
    payload: Vec<u8>,
    topic: String,
    qos: u8,
    retained: bool,
    expiry: Option<u32>,
}

/// What the broker pushes into.
#[derive(Default)]
pub(super) struct Inbox {
    unread: Mutex<Vec<Pushing>>,
    /// The reader waits for something to come.
    awaits: AtomicBool,
    woken: AtomicBool,
}

impl Inbox {
    fn add(&self, pushing: Pushing) -> Pushed {
        lock(&self.unread).push(pushing);
        Pushed::new(0, self.awaits.swap(false, Ordering::SeqCst))
    }
}

impl midge_core::Sink for Inbox {
    fn push(&self, received: Received) -> Pushed {
        let message = received.message();
        self.add(Pushing {
            payload: message.payload().to_vec(),
            topic: message.topic().into(),
            qos: received.qos() as u8,
            retained: received.retained(),
            expiry: received.expiry(),
        })
    }

    fn wake(&self) {
        self.woken.store(true, Ordering::SeqCst);
    }

    fn close(&self) {}
}

/// The same for a whole broker.
pub(super) struct Shared(pub(super) Arc<Inbox>);

impl midge::Sink for Shared {
    fn push(&self, message: midge::Message) -> Pushed {
        self.0.add(Pushing {
            payload: message.payload().to_vec(),
            topic: message.topic().into(),
            qos: message.qos() as u8,
            retained: message.retain(),
            expiry: message.message_expiry(),
        })
    }

    fn wake(&self) {
        midge_core::Sink::wake(&*self.0);
    }
}

/// A subscription of the host.
pub(super) struct Watcher {
    inbox: Arc<Inbox>,
    handle: Option<Box<dyn Any>>,
    filter: &'static str,
    history: ClientHistory,
}

impl Watcher {
    pub(super) fn new(world: &World, filter: &'static str) -> Self {
        let inbox = Arc::new(Inbox::default());
        inbox.awaits.store(true, Ordering::SeqCst);

        let from = world.moment();
        let handle = world.engine.observe(filter, &inbox);
        let on = Span {
            from,
            to: world.moment(),
        };

        let mut history = ClientHistory {
            client_id: format!("host {filter}"),
            ..ClientHistory::default()
        };

        history.sessions.push(SessionFact { on, off: None });
        history.subscriptions.push(SubscriptionFact {
            filter: filter.into(),
            qos: 2,
            no_local: false,
            as_published: true,
            retain_handling: 2,
            id: 0,
            session: 0,
            on,
            off: None,
            replaced: false,
            refused: false,
        });

        Self {
            inbox,
            handle,
            filter,
            history,
        }
    }

    /// Reads if it was woken.
    pub(super) fn read(&mut self, world: &World) {
        if self.inbox.woken.swap(false, Ordering::SeqCst) {
            self.take(world);
        }
    }

    fn take(&mut self, world: &World) {
        let mut unread = lock(&self.inbox.unread);
        let came = std::mem::take(&mut *unread);
        self.inbox.awaits.store(true, Ordering::SeqCst);
        drop(unread);

        for message in came {
            let Some((name, marks)) = Name::read(&message.payload) else {
                continue;
            };
            let at = world.moment();
            self.history.deliveries.push(Delivery {
                name,
                marks,
                topic: message.topic,
                qos: message.qos,
                dup: false,
                retain: message.retained,
                ids: Vec::new(),
                expiry: message.expiry,
                at,
                tick: world.clock.now().0,
                session: 0,
                connection: 0,
                known: false,
                finished: NEVER,
            });
        }
    }

    /// All is idle: what is unread now was not woken for.
    pub(super) fn settle(&mut self, world: &World) {
        self.read(world);
        let unread = lock(&self.inbox.unread).len();
        if unread > 0 {
            let what = format!("{unread} messages wait in the subscription {}", self.filter);
            world.find(Finding::new(Check::HostWake, what));
        }
        self.take(world);
    }

    pub(super) fn end(mut self) -> ClientHistory {
        self.handle = None;
        self.history
    }
}
