//! Hooks are asked about messages that have waited, while everything else goes on.

use std::sync::Arc;

use midge_core::{ClientInfo, HookSet, Hooks, Hub, MessageRef};
use midge_testkit::{Connect, Kind, PropsBuf, Subscribe, ack, unsubscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, assert_unlocked, audit, hub, publish};

/// Asks about each receiver, and lets all messages pass.
pub(crate) struct AsksReceivers;

impl Hooks for AsksReceivers {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_RECEIVE
    }

    fn authorize_receive(&self, _: &ClientInfo, _: &MessageRef<'_>) -> bool {
        assert_unlocked("a hook");
        // Others may come in between.
        thread::yield_now();
        true
    }
}

fn asking_hub() -> Arc<Hub> {
    hub(|_| (), Some(Arc::new(AsksReceivers)))
}

fn persistent(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).expiry(100)
}

/// A session without connection for which messages 1 to 3 wait.
fn waiting_session(hub: &Arc<Hub>, filter: &str) -> (Client, Client) {
    let mut client = Client::connect(hub, &persistent("client"));
    client.say(&Subscribe::new(1).filter(filter, 1).bytes());
    hub.lost(&client.link, START);
    let mut publisher = Client::connect(hub, &Connect::v5("publisher"));
    for number in 1..=3 {
        publisher.say(&publish("t", number).qos(1, number).bytes());
    }
    (client, publisher)
}

/// Live messages come behind those that wait.
#[test]
fn live_messages_come_behind() {
    explore(|| {
        let hub = asking_hub();
        let (old, mut publisher) = waiting_session(&hub, "t");
        let mut new = Client::accept(&hub);

        let publishes = thread::spawn(move || {
            for number in 4..=6 {
                publisher.say(&publish("t", number).qos(1, number).bytes());
            }
            publisher
        });
        new.say(&persistent("client").bytes());
        let publisher = publishes.join().unwrap();

        assert_eq!(new.numbers(), [1, 2, 3, 4, 5, 6]);
        audit(hub, vec![old, new, publisher]);
    });
}

/// The same with a window of one message, which acknowledgements open.
#[test]
fn live_messages_come_behind_in_a_window() {
    explore(|| {
        let hub = asking_hub();
        let (old, mut publisher) = waiting_session(&hub, "t");
        let mut new = Client::accept(&hub);

        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", 4).qos(1, 4).bytes());
            publisher.say(&publish("t", 5).qos(1, 5).bytes());
            publisher
        });
        new.say(&persistent("client").receive_maximum(1).bytes());
        for seen in 0..5 {
            while new.messages().len() <= seen {
                thread::yield_now();
            }
            let id = new.messages()[seen].id;
            new.say(&ack(Kind::Puback, id));
        }
        let publisher = publishes.join().unwrap();

        assert_eq!(new.numbers(), [1, 2, 3, 4, 5]);
        assert!(hub.is_settled());
        audit(hub, vec![old, new, publisher]);
    });
}

/// The connection is taken over while hooks are asked: nothing is lost, and the order stays.
#[test]
fn a_takeover_while_hooks_are_asked() {
    explore(|| {
        let hub = asking_hub();
        let (old, mut publisher) = waiting_session(&hub, "t");
        let [mut one, mut two] = [Client::accept(&hub), Client::accept(&hub)];

        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", 4).qos(1, 4).bytes());
            publisher
        });
        let connects = thread::spawn(move || {
            one.say(&persistent("client").bytes());
            one
        });
        two.say(&persistent("client").bytes());
        let (publisher, one) = (publishes.join().unwrap(), connects.join().unwrap());

        let seen = [&one, &two].map(Client::numbers);
        assert!(seen.iter().all(|seen| seen.is_sorted()), "{seen:?}");
        let open = if one.is_open() { &seen[0] } else { &seen[1] };
        assert_eq!(open, &[1, 2, 3, 4], "{seen:?}");
        audit(hub, vec![old, one, two, publisher]);
    });
}

/// The session ends while hooks are asked: messages of its shared group go to the other member.
#[test]
fn a_session_ends_while_hooks_are_asked() {
    explore(|| {
        let hub = asking_hub();
        let (old, publisher) = waiting_session(&hub, "$share/g/t");
        let stays = Client::subscriber(&hub, "stays", "$share/g/t", 1);
        let mut new = Client::accept(&hub);
        let ender = hub.clone();

        let ends = thread::spawn(move || ender.clear_session("client", START));
        new.say(&persistent("client").bytes());
        let ended = ends.join().unwrap();

        assert!(ended, "the session was there");
        assert_eq!(stays.numbers(), [1, 2, 3], "beside {:?}", new.numbers());
        audit(hub, vec![old, new, stays, publisher]);
    });
}

/// The client unsubscribes while hooks are asked: what waits stays and comes before UNSUBACK, or not
/// at all for a message that comes live.
#[test]
fn an_unsubscribe_while_hooks_are_asked() {
    explore(|| {
        let hub = asking_hub();
        let (old, mut publisher) = waiting_session(&hub, "t");
        let mut new = Client::accept(&hub);

        let publishes = thread::spawn(move || {
            publisher.say(&publish("t", 4).qos(1, 4).bytes());
            publisher
        });
        new.say(&persistent("client").bytes());
        new.say(&unsubscribe(5, 2, &PropsBuf::new(), &["t"]));
        let publisher = publishes.join().unwrap();

        let seen = new.numbers();
        assert_eq!(seen[..3], [1, 2, 3], "{seen:?}");
        assert!(seen[3..].is_empty() || seen[3..] == [4], "{seen:?}");
        audit(hub, vec![old, new, publisher]);
    });
}

/// Retained messages, live ones and hooks: each topic ends with its newest message.
#[test]
fn retained_messages_while_hooks_are_asked() {
    explore(|| {
        let hub = asking_hub();
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
        for topic in ["r/1", "r/2"] {
            publisher.say(&publish(topic, 1).qos(1, 1).retain().bytes());
        }
        let mut subscriber = Client::connect(&hub, &Connect::v5("subscriber"));

        let publishes = thread::spawn(move || {
            for topic in ["r/1", "r/2"] {
                publisher.say(&publish(topic, 2).qos(1, 1).retain().bytes());
            }
            publisher
        });
        subscriber.say(&Subscribe::new(1).filter("r/+", 1).bytes());
        let publisher = publishes.join().unwrap();

        for topic in ["r/1", "r/2"] {
            let messages = subscriber.messages();
            let of_topic = messages.iter().filter(|message| message.topic == topic);
            let seen: Vec<String> = of_topic.map(midge_testkit::Message::text).collect();
            assert!(seen.is_sorted(), "{seen:?}");
            assert_eq!(seen.last().map(String::as_str), Some("2"));
        }
        audit(hub, vec![subscriber, publisher]);
    });
}
