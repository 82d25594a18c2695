//! Answers that wait for the store.

use std::sync::Arc;

use midge_core::{Op, Position, Recovered, Store, Tick};
use midge_testkit::{Connect, Kind, Packet, Subscribe};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, audit, publish, stored_hub};

type Notify = Arc<dyn Fn() + Send + Sync>;

/// A store that commits when it is told to, and knows where the last change of a kind stands.
#[derive(Default)]
struct Disk {
    state: Mutex<Positions>,
    notify: Mutex<Option<Notify>>,
}

#[derive(Clone, Default)]
struct Positions {
    applied: Position,
    committed: Position,
    /// Where each payload was stored.
    retained: Vec<(Vec<u8>, Position)>,
    subscribed: Position,
}

impl Store for Disk {
    fn load(&self) -> Recovered {
        Recovered::default()
    }

    fn apply(&self, batch: Vec<Op>, _: Tick) -> Position {
        let mut state = self.state.lock().unwrap();
        state.applied += 1;
        let position = state.applied;
        for op in batch {
            match op {
                Op::Retained { message } => {
                    state.retained.push((message.payload().to_vec(), position));
                }
                Op::Subscribed { .. } => state.subscribed = position,
                _ => {}
            }
        }
        position
    }

    fn committed(&self) -> Position {
        self.state.lock().unwrap().committed
    }

    fn on_commit(&self, notify: Notify) {
        *self.notify.lock().unwrap() = Some(notify);
    }
}

impl Disk {
    /// Commits what was applied, and says so if that is more than before.
    fn commit(&self) {
        let mut state = self.state.lock().unwrap();
        let grown = state.committed < state.applied;
        state.committed = state.applied;
        drop(state);

        let notify = self.notify.lock().unwrap().clone();
        if let Some(notify) = notify.filter(|_| grown) {
            notify();
        }
    }

    /// Nothing that is acknowledged may be lost: a client's retained message, a subscription.
    fn check(&self, client: &Client, payload: &[u8]) {
        let (puback, suback) = answers(client);
        let positions = self.state.lock().unwrap().clone();
        let stored = |(known, at): &(Vec<u8>, Position)| (known == payload).then_some(*at);
        let retained = positions.retained.iter().find_map(stored);

        let safe = |at: Position| (1..=positions.committed).contains(&at);
        assert!(
            !puback || retained.is_some_and(safe),
            "PUBACK before the commit"
        );
        assert!(
            !suback || safe(positions.subscribed),
            "SUBACK before the commit"
        );
    }
}

/// Whether PUBACK and SUBACK have come.
fn answers(client: &Client) -> (bool, bool) {
    let packets = client.packets();
    let suback = |packet: &Packet| matches!(packet, Packet::Suback(_));
    (client.has_ack(Kind::Puback, 1), packets.iter().any(suback))
}

/// Answers wait for the commit, and come when that is done, whichever comes first.
#[test]
fn answers_come_with_the_commit() {
    explore(|| {
        let disk = Arc::new(Disk::default());
        let hub = stored_hub(|_| (), None, Some(disk.clone()));
        let connect = |client_id| Connect::v5(client_id).clean(false).expiry(100);
        let [mut one, mut two] = ["one", "two"].map(|id| Client::connect(&hub, &connect(id)));
        disk.commit();
        let writer = disk.clone();

        let commits = thread::spawn(move || (0..3).for_each(|_| writer.commit()));
        let subscribes = thread::spawn(move || {
            two.say(&Subscribe::new(1).filter("t", 1).bytes());
            two
        });
        one.say(&publish("t", 1).qos(1, 1).retain().bytes());
        disk.check(&one, b"1");
        let two = subscribes.join().unwrap();
        disk.check(&two, b"1");
        commits.join().unwrap();
        disk.commit();

        disk.check(&one, b"1");
        assert!(answers(&one).0, "PUBACK");
        assert!(answers(&two).1, "SUBACK");
        disk.commit();
        assert_eq!(two.numbers().first(), Some(&1), "the message");
        drop(disk);
        audit(hub, vec![one, two]);
    });
}

/// The publisher reconnects while its answer waits: the new connection gets one for what it repeats.
#[test]
fn an_answer_waits_while_its_client_reconnects() {
    explore(|| {
        let disk = Arc::new(Disk::default());
        let hub = stored_hub(|_| (), None, Some(disk.clone()));
        let connect = || Connect::v5("client").clean(false).expiry(100);
        let mut old = Client::connect(&hub, &connect());
        disk.commit();
        let mut new = Client::accept(&hub);
        let writer = disk.clone();

        let commits = thread::spawn(move || (0..3).for_each(|_| writer.commit()));
        let publishes = thread::spawn(move || {
            old.say(&publish("t", 1).qos(1, 1).retain().bytes());
            old
        });
        new.say(&connect().bytes());
        new.say(&publish("t", 2).qos(1, 1).dup().retain().bytes());
        let old = publishes.join().unwrap();
        disk.check(&old, b"1");
        disk.check(&new, b"2");
        commits.join().unwrap();
        disk.commit();

        assert!(answers(&new).0, "PUBACK");
        drop(disk);
        audit(hub, vec![old, new]);
    });
}
