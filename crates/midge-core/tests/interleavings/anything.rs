//! Anything at once: threads that do random things with few clients, and what must hold whatever they
//! did. The choices are part of the schedule, so that a replay makes them again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use midge_codec::QoS;
use midge_core::{Hooks, Hub, OwnedMessage, Tick};
use midge_testkit::{Connect, Kind, PropsBuf, Subscribe, Will, ack, disconnect, unsubscribe};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use crate::asking::AsksReceivers;
use crate::explore::explore;
use crate::world::{Client, START, audit, hub, publish};

const THREADS: usize = 3;
const STEPS: usize = 5;
const CLIENTS: [&str; 2] = ["a", "b"];
const FILTERS: [&str; 4] = ["t", "+", "r", "$share/g/t"];
/// Sessions that were left have expired by then.
const LATE: Tick = Tick(200_000);

/// What a thread did, for the checks at the end.
#[derive(Default)]
struct Done {
    clients: Vec<Client>,
    /// Messages that were acknowledged.
    acknowledged: Vec<String>,
}

/// A message names its client, or the host, and carries a number that grows.
fn next_text(from: &str, numbers: &AtomicU16) -> (String, u16) {
    let number = numbers.fetch_add(1, Ordering::SeqCst);
    (format!("{from} {number}"), number)
}

fn act(hub: &Arc<Hub>, numbers: &AtomicU16) -> Done {
    let mut done = Done::default();
    for _ in 0..STEPS {
        match thread_rng().gen_range(0..12) {
            0 => hub.fire(LATE),
            1 => {
                hub.clear_session(choose(&CLIENTS), START);
            }
            2 => {
                let (text, _) = next_text("host", numbers);
                let mut message = OwnedMessage::new("t", text);
                message.qos = QoS::AtLeastOnce;
                let published = hub.publish_from_host(message.parts(), None, || START, false);
                assert!(published.is_ok());
            }
            3 | 4 => done.clients.push(connected(hub)),
            other => {
                if !done.clients.last().is_some_and(Client::is_open) {
                    done.clients.push(connected(hub));
                }
                let client = done.clients.last_mut().unwrap();
                let acknowledged = act_as(client, other, numbers);
                done.acknowledged.extend(acknowledged);
            }
        }
    }

    done
}

fn choose<T: Copy>(from: &[T]) -> T {
    from[thread_rng().gen_range(0..from.len())]
}

fn connected(hub: &Arc<Hub>) -> Client {
    let will = Will::new("will", "gone").delay(choose(&[0, 10]));
    let connect = Connect::v5(choose(&CLIENTS))
        .clean(choose(&[false, true]))
        .expiry(choose(&[0, 100]))
        .receive_maximum(choose(&[1, 10]))
        .will(will);
    Client::connect(hub, &connect)
}

/// One step of a connected client; the message that it published if that was acknowledged.
fn act_as(client: &mut Client, step: u32, numbers: &AtomicU16) -> Option<String> {
    match step {
        5 => client.say(
            &Subscribe::new(1)
                .filter(choose(&FILTERS), choose(&[0, 1, 2]))
                .bytes(),
        ),
        6 => client.say(&unsubscribe(5, 2, &PropsBuf::new(), &[choose(&FILTERS)])),
        7 => client.say(&disconnect(choose(&[0, 4]), &PropsBuf::new())),
        8 => client.hub.lost(&client.link, START),
        9 => acknowledge(client),
        _ => return say_something(client, numbers),
    }
    None
}

/// Acknowledges what has come.
fn acknowledge(client: &mut Client) {
    for message in client.messages() {
        match message.qos {
            0 => {}
            1 => client.say(&ack(Kind::Puback, message.id)),
            _ => {
                client.say(&ack(Kind::Pubrec, message.id));
                client.say(&ack(Kind::Pubcomp, message.id));
            }
        }
    }
}

fn say_something(client: &mut Client, numbers: &AtomicU16) -> Option<String> {
    let (text, id) = next_text(client.client_id(), numbers);
    let qos = choose(&[0, 1, 2]);
    let packet = publish(choose(&["t", "r"]), &text).qos(qos, id);
    let packet = if packet.topic == b"r" {
        packet.retain()
    } else {
        packet
    };

    client.say(&packet.bytes());

    let acknowledged = match qos {
        0 => false,
        1 => client.has_ack(Kind::Puback, id),
        _ => {
            let received = client.has_ack(Kind::Pubrec, id);
            client.say(&ack(Kind::Pubrel, id));
            received
        }
    };

    acknowledged.then_some(text)
}

fn anything(hooks: Option<Arc<dyn Hooks>>) {
    let hub = hub(|config| config.limits.connect_timeout_ms = 0, hooks);
    let mut steady = Client::subscriber(&hub, "steady", "t", 0);
    steady.say(&Subscribe::new(2).filter("r", 0).bytes());
    let numbers = Arc::new(AtomicU16::new(1));

    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (hub, numbers) = (hub.clone(), numbers.clone());
            thread::spawn(move || act(&hub, &numbers))
        })
        .collect();
    let done: Vec<Done> = threads.into_iter().map(|t| t.join().unwrap()).collect();

    let seen = steady.texts();
    check_seen(&seen);
    let acknowledged = done.iter().flat_map(|done| &done.acknowledged);
    for text in acknowledged {
        assert!(
            seen.contains(text),
            "{text} was acknowledged and did not come: {seen:?}"
        );
    }
    let stored = hub.retained_on("r", START);
    let last = steady
        .messages()
        .into_iter()
        .rfind(|message| message.topic == "r");
    assert_eq!(
        stored.map(|message| message.payload().to_vec()),
        last.map(|message| message.payload),
        "stored, and seen last"
    );

    hub.fire(LATE);
    let clients = done
        .into_iter()
        .flat_map(|done| done.clients)
        .chain([steady]);
    audit(hub, clients.collect());
}

/// Each message once, and those of one client in their order.
fn check_seen(seen: &[String]) {
    let mut latest: HashMap<&str, u32> = HashMap::new();
    for text in seen {
        let (from, number) = text.split_once(' ').expect("a name and a number");
        let number: u32 = number.parse().unwrap();
        // Threads of the host have no order among them.
        let before = latest.insert(from, number).filter(|_| from != "host");
        assert!(before.is_none_or(|before| before < number), "{seen:?}");
    }
}

#[test]
fn anything_at_once() {
    explore(|| anything(None));
}

#[test]
fn anything_at_once_with_hooks() {
    explore(|| anything(Some(Arc::new(AsksReceivers))));
}
