//! Messages expire while others need their room, their client comes back, or their session ends.

use midge_core::{Overflow, Tick};
use midge_testkit::{Connect, Subscribe};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit, hub, publish};

const LATER: Tick = START.after_s(10);

fn persistent(client_id: &str) -> Connect {
    Connect::v5(client_id).clean(false).expiry(100)
}

/// What comes back while its messages expire, if anything does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    StaysAway,
    ComesBack,
    IsCleared,
}

fn expires(owner: Owner, overflow: Overflow) {
    let hub = hub(
        |config| {
            // What its owner has got before it expired stays in flight, and needs room of its own.
            config.limits.total_queue_bytes = match owner {
                Owner::ComesBack => 8_000,
                Owner::StaysAway | Owner::IsCleared => 4_000,
            };
            config.overflow.session = overflow;
        },
        None,
    );
    for client_id in ["away", "client"] {
        let mut client = Client::connect(&hub, &persistent(client_id));
        client.say(&Subscribe::new(1).filter(client_id, 1).bytes());
        client.close(START);
    }
    let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));
    for number in 0..4 {
        publisher.say(&publish("away", number).qos(1, 1).expiry(5).bytes());
    }
    publisher.say(&publish("client", 0).qos(1, 1).bytes());
    let mut old = Client::accept(&hub);

    // A deadline, a publisher that finds no room, and the owner of what has expired.
    let (fires, theirs) = (hub.clone(), hub.clone());
    let clock = thread::spawn(move || fires.fire(LATER));
    let other = thread::spawn(move || {
        match owner {
            Owner::StaysAway => {}
            Owner::ComesBack => old.say_at(&persistent("away").bytes(), LATER),
            Owner::IsCleared => {
                theirs.clear_session("away", LATER);
            }
        }
        old
    });
    for number in 1..4 {
        publisher.say_at(&publish("client", number).qos(1, 1).bytes(), LATER);
    }
    clock.join().unwrap();
    let old = other.join().unwrap();

    let back = Client::connect(&hub, &persistent("client"));
    assert_eq!(back.numbers(), [0, 1, 2, 3], "nothing living is dropped");
    let stats = hub.stats(LATER);
    assert_eq!(stats.queued_messages, 0);
    hub.clear_session("away", LATER);
    assert_eq!(hub.next_deadline(), None, "no deadline is left behind");
    audit(hub, vec![publisher, old, back]);
}

#[test]
fn while_no_thread_looks() {
    explore(|| expires(Owner::StaysAway, Overflow::DropNewest));
}

#[test]
fn while_the_oldest_would_go() {
    explore(|| expires(Owner::StaysAway, Overflow::DropOldest));
}

#[test]
fn while_their_client_comes_back() {
    explore(|| expires(Owner::ComesBack, Overflow::DropNewest));
}

#[test]
fn while_their_session_ends() {
    explore(|| expires(Owner::IsCleared, Overflow::DropNewest));
}
