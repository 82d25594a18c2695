use midge_codec::{QoS, SubscriptionOptions};

use super::*;
use crate::message::StoredMessage;
use crate::sync::atomic::{AtomicU64, Ordering};

fn name(client_id: &str) -> Arc<str> {
    client_id.into()
}

fn session(client_id: &str, expiry_s: u32) -> Op {
    Op::Session {
        client_id: name(client_id),
        session: StoredSession::new(expiry_s),
    }
}

fn message(topic: &str, id: u64) -> SharedMessage {
    StoredMessage::new(id, topic, "p").into()
}

fn load(store: &MemoryStore, client_id: &str) -> Option<RecoveredSession> {
    let sessions = store.load().sessions;
    let known = sessions.into_iter().find(|(id, _)| &**id == client_id);
    known.map(|(_, session)| session)
}

#[test]
fn positions_rise_and_are_committed_when_it_is_asked_for() {
    let (prompt, manual) = (MemoryStore::new(), MemoryStore::manual());
    let told = Arc::new(AtomicU64::new(0));
    let tell = told.clone();
    manual.on_commit(Arc::new(move || {
        tell.fetch_add(1, Ordering::Relaxed);
    }));
    for position in 1..4 {
        assert_eq!(
            prompt.apply(vec![session("a", 1)], Tick(position)),
            position
        );
        assert_eq!(prompt.committed(), position);
        assert_eq!(
            manual.apply(vec![session("a", 1)], Tick(position)),
            position
        );
        assert_eq!(manual.committed(), 0);
    }

    assert_eq!((prompt.load().at, manual.load().at), (Tick(3), Tick(3)));
    manual.commit();
    assert_eq!(manual.committed(), 3);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn what_ends_is_only_what_is_named() {
    let store = MemoryStore::new();
    let subscribed = |client_id: &str, filter: &str, id| Op::Subscribed {
        client_id: name(client_id),
        subscription: StoredSubscription {
            subscription_id: Some(id),
            ..StoredSubscription::new(filter, SubscriptionOptions::default())
        },
    };
    let opened = |packet_id| Op::Opened {
        client_id: name("a"),
        packet_id,
    };

    let mut ops = vec![session("a", 7), session("b", 8), session("c", 9)];
    ops.extend(["x", "y", "z"].map(|filter| subscribed("a", filter, 1)));
    ops.push(subscribed("a", "y", 2));
    ops.push(subscribed("b", "y", 3));
    ops.extend([4, 5, 6].map(opened));
    store.apply(ops, Tick(0));
    store.apply(
        vec![
            Op::Unsubscribed {
                client_id: name("a"),
                filter: "x".into(),
            },
            Op::Closed {
                client_id: name("a"),
                packet_id: 5,
            },
            Op::SessionEnded {
                client_id: name("c"),
            },
        ],
        Tick(0),
    );

    let a = load(&store, "a").unwrap();
    let filters = a
        .subscriptions
        .iter()
        .map(|s| (&*s.filter, s.subscription_id));
    assert_eq!(
        filters.collect::<Vec<_>>(),
        [("z", Some(1)), ("y", Some(2))]
    );
    assert_eq!((a.session.expiry_s, a.open), (7, vec![4, 6]));
    let b = load(&store, "b").unwrap();
    assert_eq!((b.session.expiry_s, b.subscriptions.len()), (8, 1));
    assert!(load(&store, "c").is_none());
}

#[test]
fn a_message_that_a_session_has_twice_is_two_deliveries() {
    let store = MemoryStore::new();
    let (first, second) = (message("t", 3), message("u", 4));
    let taken = |message: &SharedMessage, packet_id| Op::Taken {
        client_id: name("a"),
        delivery: StoredDelivery::new(message.clone(), QoS::ExactlyOnce, packet_id),
    };
    let (client_id, message_id) = (name("a"), first.id());
    let done = |packet_id| Op::Done {
        client_id: client_id.clone(),
        message_id,
        packet_id,
    };
    let deliveries = || -> Vec<_> {
        let deliveries = load(&store, "a").unwrap().deliveries.into_iter();
        deliveries
            .map(|one| (one.message.topic().to_owned(), one.packet_id, one.released))
            .collect()
    };
    let row = |topic: &str, id, released| (topic.to_owned(), id, released);
    store.apply(
        vec![session("a", 7), taken(&first, 5), taken(&first, 6)],
        Tick(0),
    );
    store.apply(vec![taken(&second, 7)], Tick(0));

    store.apply(
        vec![Op::Released {
            client_id: client_id.clone(),
            message_id,
            packet_id: 6,
        }],
        Tick(0),
    );
    let expected = [row("t", 5, false), row("t", 6, true)];
    assert_eq!(deliveries()[..2], expected);
    store.apply(vec![done(6), done(7), done(0)], Tick(0));
    let left = [row("t", 5, false), row("u", 7, false)];
    assert_eq!(deliveries(), left);
}

#[test]
fn the_highest_message_id_is_kept_when_the_message_is_not() {
    let store = MemoryStore::new();
    for id in [3, 9, 4] {
        let message = message("t", id);
        store.apply(vec![Op::Retained { message }], Tick(0));
    }
    assert_eq!(store.load().retained.len(), 1);
    store.apply(vec![Op::RetainedRemoved { topic: "t".into() }], Tick(0));
    let loaded = store.load();
    assert_eq!((loaded.retained.len(), loaded.last_message_id), (0, 9));
}
