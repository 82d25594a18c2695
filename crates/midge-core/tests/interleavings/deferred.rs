//! Answers of hooks that come later, or not at all.

use std::sync::Arc;

use midge_codec::{ReasonCode, SubscriptionOptions};
use midge_core::{ClientInfo, ConnectRequest, HookSet, Hooks, Hub, MessageRef, Tick, Verdict};
use midge_core::{Refusal, Resolver};
use midge_testkit::{Connect, Kind, Packet, Subscribe, ack};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, assert_unlocked, audit, hub, is_connected, publish};

/// After `hooks.timeout_ms`.
const LATE: Tick = Tick(5_000);

/// Defers every answer and leaves it to another thread.
struct Defers {
    set: HookSet,
    asked: Mutex<Asked>,
    more: Condvar,
}

#[derive(Default)]
struct Asked {
    open: Vec<Resolver>,
    done: bool,
}

impl Defers {
    fn defer(&self) -> Verdict {
        assert_unlocked("a hook");
        let (resolver, verdict) = Verdict::defer();
        self.asked.lock().unwrap().open.push(resolver);
        self.more.notify_all();
        verdict
    }

    /// Says yes to the first `count` questions and no to others, on a thread of its own, until there
    /// are no more.
    fn answer(self: &Arc<Self>, mut count: usize) -> thread::JoinHandle<()> {
        let defers = self.clone();
        thread::spawn(move || {
            while let Some(resolver) = defers.next() {
                if count > 0 {
                    resolver.allow();
                } else {
                    resolver.deny(Refusal::new(ReasonCode::NotAuthorized));
                }
                count = count.saturating_sub(1);
            }
        })
    }

    /// The next question, when it is asked; `None` if there are no more.
    fn next(&self) -> Option<Resolver> {
        let mut asked = self.asked.lock().unwrap();
        while asked.open.is_empty() && !asked.done {
            asked = self.more.wait(asked).unwrap();
        }
        let more = !asked.open.is_empty();
        more.then(|| asked.open.remove(0))
    }

    /// Nothing is asked any more.
    fn finish(&self, answers: thread::JoinHandle<()>) {
        self.asked.lock().unwrap().done = true;
        self.more.notify_all();
        answers.join().unwrap();
    }
}

/// A wrapper, because the hub wants hooks of its own.
struct Shared(Arc<Defers>);

impl Hooks for Shared {
    fn set(&self) -> HookSet {
        self.0.set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        if &*request.client.client_id == "subscriber" {
            return Verdict::Allow;
        }
        self.0.defer()
    }

    fn authorize_publish(&self, _: &ClientInfo, _: &MessageRef<'_>) -> Verdict {
        self.0.defer()
    }

    fn authorize_subscribe(&self, _: &ClientInfo, _: &str, _: &SubscriptionOptions) -> Verdict {
        self.0.defer()
    }
}

fn asking(set: HookSet) -> (Arc<Defers>, Arc<Hub>) {
    let defers = Arc::new(Defers {
        set,
        asked: Mutex::default(),
        more: Condvar::new(),
    });
    let hub = hub(
        |config| config.limits.connect_timeout_ms = 0,
        Some(Arc::new(Shared(defers.clone()))),
    );
    (defers, hub)
}

/// Deadlines of answers go when they are reached.
fn audit_later(hub: Arc<Hub>, clients: Vec<Client>) {
    hub.fire(Tick(1_000_000));
    audit(hub, clients);
}

fn publisher() -> Connect {
    Connect::v5("publisher").clean(false).expiry(100)
}

/// An answer meets the end of its time: the client gets one answer, and the message comes if that was
/// a yes.
#[test]
fn an_answer_meets_its_timeout() {
    explore(|| {
        let (defers, hub) = asking(HookSet::AUTHORIZE_PUBLISH);
        let subscriber = Client::subscriber(&hub, "subscriber", "t", 0);
        let mut client = Client::connect(&hub, &publisher());
        let timer = hub.clone();

        let answers = defers.answer(1);
        let publishes = thread::spawn(move || {
            client.say(&publish("t", 1).qos(1, 1).bytes());
            client
        });
        timer.fire(LATE);
        drop(timer);
        let client = publishes.join().unwrap();
        defers.finish(answers);

        let acks = |packet: &Packet| match packet {
            Packet::Ack(ack) => Some(ack.code < 0x80),
            _ => None,
        };
        let answers: Vec<bool> = client.packets().iter().filter_map(acks).collect();
        assert_eq!(answers.len(), 1, "PUBACK");
        assert_eq!(subscriber.numbers().len(), usize::from(answers[0]));
        audit_later(hub, vec![subscriber, client]);
    });
}

/// A QoS 2 message waits for its answer while its publisher reconnects and repeats it: what is
/// completed has been delivered once (MQTT-4.3.3-10).
#[test]
fn a_repeated_qos2_message_waits_for_its_answer() {
    explore(|| {
        let (defers, hub) = asking(HookSet::AUTHORIZE_PUBLISH);
        let subscriber = Client::subscriber(&hub, "subscriber", "t", 0);
        let mut old = Client::connect(&hub, &publisher());
        let mut new = Client::accept(&hub);

        let answers = defers.answer(usize::MAX);
        let publishes = thread::spawn(move || {
            old.say(&publish("t", 1).qos(2, 1).bytes());
            old
        });
        new.say(&publisher().bytes());
        new.say(&publish("t", 1).qos(2, 1).dup().bytes());
        new.say(&ack(Kind::Pubrel, 1));
        let old = publishes.join().unwrap();
        defers.finish(answers);

        let completed = new.has_ack(Kind::Pubcomp, 1);
        assert!(completed, "PUBCOMP");
        assert_eq!(subscriber.numbers(), [1]);
        audit_later(hub, vec![subscriber, old, new]);
    });
}

/// CONNECT waits for its answer while the same client connects again, and while its own transport
/// breaks: at most one connection is open, and a session is there only with one.
#[test]
fn an_authentication_meets_another_connect() {
    explore(|| {
        let (defers, hub) = asking(HookSet::AUTHENTICATE);
        let clients = [Client::accept(&hub), Client::accept(&hub)];
        let (first, breaker) = (clients[0].link.clone(), hub.clone());

        let answers = defers.answer(usize::MAX);
        let connects = clients.map(|mut client| {
            thread::spawn(move || {
                client.say(&Connect::v5("client").bytes());
                client
            })
        });
        breaker.lost(&first, START);
        drop((breaker, first));
        let clients = connects.map(|client| client.join().unwrap());
        defers.finish(answers);

        let open = clients.iter().filter(|client| client.is_open()).count();
        assert!(open <= 1);
        assert_eq!(is_connected(&hub, "client"), open == 1);
        assert_eq!(hub.sessions().len(), open);
        audit_later(hub, clients.into());
    });
}

/// SUBSCRIBE waits for its answer while the connection is taken over: the new session has what its own
/// connection asked for.
#[test]
fn a_subscribe_waits_while_its_connection_is_taken_over() {
    explore(|| {
        let (defers, hub) = asking(HookSet::AUTHORIZE_SUBSCRIBE);
        let mut old = Client::connect(&hub, &publisher());
        let mut new = Client::accept(&hub);

        let answers = defers.answer(1);
        let subscribes = thread::spawn(move || {
            old.say(
                &Subscribe::new(1)
                    .filter("old", 0)
                    .filter("older", 0)
                    .bytes(),
            );
            old
        });
        new.say(&publisher().bytes());
        let old = subscribes.join().unwrap();
        defers.finish(answers);

        let answered = old.packets().iter().any(|p| matches!(p, Packet::Suback(_)));
        let filters: Vec<_> = hub.subscriptions(Some("publisher"));
        let expected: &[&str] = if answered { &["old"] } else { &[] };
        assert_eq!(
            filters.iter().map(|s| &*s.filter).collect::<Vec<_>>(),
            expected
        );
        audit_later(hub, vec![old, new]);
    });
}
