//! Bounds hold, and what was charged is released.

use midge_core::{Config, DropReason, Overflow};
use midge_testkit::{Connect, Publish, Subscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, hub, publish};

/// Three of these wait for a client before its outbox counts as large.
const LARGE: usize = 30 * 1024;

/// Not shared between receivers.
const SMALL: usize = 4 * 1024;

fn large(qos: u8, id: u16) -> Vec<u8> {
    Publish::new("t", vec![b'x'; LARGE]).qos(qos, id).bytes()
}

/// Two publishers fill the outbox of a client that reads now and then.
fn a_backlog(change: fn(&mut Config), qos: u8, ends: bool) {
    let hub = hub(change, None);
    let subscriber = Client::subscriber(&hub, "subscriber", "t", 1).lazy();
    let publish_from = |client_id: &'static str| {
        let mut client = Client::connect(&hub, &Connect::v5(client_id));
        thread::spawn(move || {
            for id in 1..=3 {
                client.say(&large(qos, id));
            }
            client
        })
    };

    let publishers = [publish_from("one"), publish_from("two")];
    subscriber.look();
    if ends {
        hub.lost(&subscriber.link, START);
    }
    subscriber.look();
    let mut clients: Vec<Client> = publishers.map(|p| p.join().unwrap()).into();
    subscriber.look();

    let came = subscriber.messages().len() as u64;
    let dropped = hub.stats(START).dropped_total();
    assert!(
        came <= 6 && dropped <= 6,
        "{came} came, {dropped} were dropped"
    );
    assert!(
        ends || came + dropped == 6,
        "{came} came, {dropped} were dropped"
    );
    clients.push(subscriber);
    audit(hub, clients);
}

#[test]
fn a_backlog_is_released() {
    explore(|| a_backlog(|_| (), 0, false));
}

#[test]
fn a_backlog_is_released_at_the_end() {
    explore(|| a_backlog(|_| (), 0, true));
}

#[test]
fn a_backlog_of_qos1_is_released_at_the_end() {
    explore(|| a_backlog(|_| (), 1, true));
}

#[test]
fn a_backlog_keeps_to_the_limit_of_its_client() {
    explore(|| {
        a_backlog(
            |config| config.limits.session_queue_bytes = 4 * LARGE,
            0,
            false,
        );
    });
}

#[test]
fn a_backlog_keeps_to_the_limit_of_all() {
    explore(|| {
        a_backlog(
            |config| config.limits.total_queue_bytes = 2 * LARGE,
            0,
            false,
        );
    });
}

#[test]
fn a_client_that_is_too_slow_is_disconnected() {
    explore(|| {
        let change = |config: &mut Config| {
            config.limits.session_queue_bytes = 4 * LARGE;
            config.overflow.session = Overflow::Disconnect;
        };
        a_backlog(change, 0, true);
    });
}

/// `limits.total_queue_bytes` holds for messages of several publishers to several sessions.
fn queues_keep_to_the_limit(size: usize, tolerance: usize) {
    let total = 3 * size;
    let hub = hub(|config| config.limits.total_queue_bytes = total, None);
    let mut clients: Vec<Client> = ["a", "b"]
        .map(|client_id| {
            let connect = Connect::v5(client_id).clean(false).expiry(100);
            let mut client = Client::connect(&hub, &connect);
            client.say(&Subscribe::new(1).filter(client_id, 1).bytes());
            hub.lost(&client.link, START);
            client
        })
        .into();
    let publish_to = |topic: &'static str| {
        let mut client = Client::connect(&hub, &Connect::v5(format!("to {topic}")));
        thread::spawn(move || {
            for id in 1..=2 {
                let publish = Publish::new(topic, vec![b'x'; size]).qos(1, id);
                client.say(&publish.bytes());
            }
            client
        })
    };

    let publishers = [publish_to("a"), publish_to("b")];
    clients.extend(publishers.map(|publisher| publisher.join().unwrap()));

    let stats = hub.stats(START);
    let memory = &stats.memory;
    let waiting = (memory.queues + memory.output + memory.payloads) as usize;
    assert!(waiting <= total + tolerance, "{waiting} of {total}");
    let dropped = stats.dropped_by(DropReason::TotalQueueFull);
    assert_eq!(stats.queued_messages + dropped, 4);
    audit(hub, clients);
}

#[test]
fn queues_of_large_messages_keep_to_the_limit_of_all() {
    explore(|| queues_keep_to_the_limit(LARGE, 0));
}

/// Threads that bring messages at the same moment may each pass the limit by one that is not shared.
#[test]
fn queues_of_small_messages_keep_to_the_limit_of_all() {
    explore(|| queues_keep_to_the_limit(SMALL, SMALL + 300));
}

/// The oldest messages make room, whichever client publishes: so many wait as the limit allows, in order.
#[test]
fn the_oldest_make_room() {
    explore(|| {
        let change = |config: &mut Config| {
            config.limits.session_queue_messages = 2;
            config.overflow.session = Overflow::DropOldest;
        };
        let hub = hub(change, None);
        let connect = || Connect::v5("client").clean(false).expiry(100);
        let mut old = Client::connect(&hub, &connect());
        old.say(&Subscribe::new(1).filter("t", 1).bytes());
        hub.lost(&old.link, START);
        let mut new = Client::accept(&hub);
        let publish_from = |client_id: &'static str, first: u16| {
            let mut client = Client::connect(&hub, &Connect::v5(client_id));
            thread::spawn(move || {
                for number in first..first + 3 {
                    client.say(&publish("t", number).qos(1, number).bytes());
                }
                client
            })
        };

        let publishers = [publish_from("one", 1), publish_from("two", 11)];
        new.say(&connect().bytes());
        let mut clients: Vec<Client> = publishers.map(|p| p.join().unwrap()).into();

        let stats = hub.stats(START);
        let dropped = stats.dropped_by(DropReason::QueueFull) as usize;
        let seen = new.numbers();
        assert_eq!(
            (seen.len() + dropped, stats.queued_messages),
            (6, 0),
            "{seen:?}"
        );
        for of in [1..10, 10..20] {
            assert!(
                seen.iter().filter(|n| of.contains(*n)).is_sorted(),
                "{seen:?}"
            );
        }
        clients.extend([old, new]);
        audit(hub, clients);
    });
}
