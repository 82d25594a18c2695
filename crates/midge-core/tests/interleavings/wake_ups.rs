//! Every wake-up that is owed is paid.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use midge_codec::QoS;
use midge_core::{
    Dirty, EventMask, HookSet, Hooks, Hub, Interception, MessageRef, Origin, OwnedMessage, Pushed,
    Queue, QueueLimits, Receipt, Received, Sink,
};
use midge_testkit::{Connect, Kind, Subscribe, ack};
use shuttle::sync::Mutex;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use crate::explore::explore;
use crate::world::{
    Client, START, assert_unlocked, audit, audit_with_panics, hub, plain_hub, publish,
};

/// Panics at some messages, without the noise of a panic.
struct Panics;

impl Hooks for Panics {
    fn set(&self) -> HookSet {
        HookSet::INTERCEPT_PUBLISH
    }

    fn intercept_publish(&self, _: &Origin, message: &MessageRef<'_>) -> Interception {
        if message.payload == b"panic" {
            resume_unwind(Box::new(AssertUnwindSafe("hook")));
        }
        Interception::Forward
    }
}

/// A reader that looks only when it is woken.
#[derive(Default)]
struct Reader(Mutex<(usize, usize)>);

impl Sink for Reader {
    fn push(&self, _: Received) -> Pushed {
        self.0.lock().unwrap().0 += 1;
        Pushed::new(0, true)
    }

    fn wake(&self) {
        assert_unlocked("waking a reader");
        let mut state = self.0.lock().unwrap();
        state.1 = state.0;
    }

    fn close(&self) {}
}

/// A read that a hook's panic ends owes a host subscription its wake-up.
#[test]
fn a_host_subscription_is_woken_after_a_panic() {
    explore(|| {
        let hub = hub(|_| (), Some(Arc::new(Panics)));
        let reader = Arc::new(Reader::default());
        let handle = hub
            .observe_messages(&["t"], QoS::AtMostOnce, false, reader.clone(), START)
            .unwrap();
        let [mut one, mut other] =
            ["one", "other"].map(|id| Client::connect(&hub, &Connect::v5(id)));

        let publishes = thread::spawn(move || {
            let read = [publish("t", 1), publish("t", "panic")].map(|packet| packet.bytes());
            one.say(&read.concat());
            one
        });
        other.say(&publish("t", 2).bytes());
        let one = publishes.join().unwrap();

        let (pushed, seen) = *reader.0.lock().unwrap();
        assert_eq!((pushed, seen), (2, 2), "pushed, and seen");
        drop(handle);
        audit_with_panics(hub, vec![one, other], 1);
    });
}

/// A thread that waits for messages of a host subscription gets all of them.
#[test]
fn a_waiting_thread_gets_all_messages() {
    explore(|| {
        let hub = plain_hub();
        let queue = Arc::new(Queue::<Received>::new(QueueLimits::default()));
        let handle = hub
            .observe_messages(&["t"], QoS::AtMostOnce, false, queue.clone(), START)
            .unwrap();
        let mut client = Client::connect(&hub, &Connect::v5("client"));
        let host = hub.clone();

        let waits = thread::spawn(move || {
            let message = || queue.recv_timeout(None).unwrap();
            let mut seen: Vec<_> = (0..4)
                .map(|_| message().message().payload().to_vec())
                .collect();
            seen.sort();
            seen
        });
        let publishes = thread::spawn(move || {
            client.say(&publish("t", 1).bytes());
            client.say(&publish("t", 2).bytes());
            client
        });
        for number in ["3", "4"] {
            publish_from_host(&host, number, 0, false);
        }
        drop(host);
        let (seen, client) = (waits.join().unwrap(), publishes.join().unwrap());

        assert_eq!(seen, [b"1", b"2", b"3", b"4"]);
        drop(handle);
        audit(hub, vec![client]);
    });
}

fn publish_from_host(hub: &Arc<Hub>, payload: &str, qos: u8, receipt: bool) -> Receipt {
    let mut message = OwnedMessage::new("t", payload.to_owned());
    message.qos = QoS::from_u8(qos).unwrap();
    hub.publish_from_host(message.parts(), None, || START, receipt)
        .unwrap()
}

/// Nothing is pushed once a host subscription has ended.
#[test]
fn nothing_is_pushed_after_the_end_of_a_host_subscription() {
    explore(|| {
        let hub = plain_hub();
        let reader = Arc::new(Reader::default());
        let handle = hub
            .observe_messages(&["t"], QoS::AtMostOnce, false, reader.clone(), START)
            .unwrap();
        let host = hub.clone();

        let publishes = thread::spawn(move || {
            for number in ["1", "2", "3"] {
                publish_from_host(&host, number, 0, false);
            }
        });
        drop(handle);
        let at_end = reader.0.lock().unwrap().0;
        publishes.join().unwrap();

        let (pushed, seen) = *reader.0.lock().unwrap();
        assert_eq!((pushed, seen), (at_end, at_end), "pushed, and seen");
        assert_eq!(Arc::strong_count(&reader), 1, "the sink is free");
        audit(hub, vec![]);
    });
}

/// A receipt's waiting thread and its task are woken when the last receiver is done, however that is.
fn a_receipt_is_paid(end: fn(&mut Client)) {
    let hub = plain_hub();
    let [mut one, mut two] =
        ["one", "two"].map(|client_id| Client::subscriber(&hub, client_id, "t", 1));
    let host = hub.clone();

    let waits = thread::spawn(move || {
        let receipt = publish_from_host(&host, "1", 1, true);
        let polled = receipt.clone();
        let polls = thread::spawn(move || {
            shuttle::future::block_on(polled.acknowledged());
        });
        assert!(receipt.wait_acknowledged(Duration::MAX));
        polls.join().unwrap();
        assert!(receipt.is_acknowledged());
        assert_eq!(receipt.matched(), 2);
    });
    let acknowledges = thread::spawn(move || {
        while one.messages().is_empty() {
            thread::yield_now();
        }
        let id = one.messages()[0].id;
        one.say(&ack(Kind::Puback, id));
        one
    });
    while two.messages().is_empty() {
        thread::yield_now();
    }
    end(&mut two);
    let one = acknowledges.join().unwrap();
    waits.join().unwrap();

    audit(hub, vec![one, two]);
}

#[test]
fn a_receipt_is_paid_by_acknowledgements() {
    explore(|| {
        a_receipt_is_paid(|client| {
            let id = client.messages()[0].id;
            client.say(&ack(Kind::Puback, id));
        });
    });
}

#[test]
fn a_receipt_is_paid_by_the_end_of_a_session() {
    explore(|| a_receipt_is_paid(|client| client.hub.lost(&client.link, START)));
}

/// A receipt is open while a message of a shared group moves to another member.
#[test]
fn a_receipt_stays_open_while_a_message_moves() {
    explore(|| {
        let hub = plain_hub();
        let leaves = Client::subscriber(&hub, "leaves", "$share/g/t", 1);
        let receipt = publish_from_host(&hub, "1", 1, true);
        let mut stays = Client::subscriber(&hub, "stays", "$share/g/t", 1);
        let waited = Arc::new(AtomicBool::new(false));
        let (paid, told) = (receipt.clone(), waited.clone());

        let waits = thread::spawn(move || {
            assert!(paid.wait_acknowledged(Duration::MAX));
            told.store(true, Ordering::SeqCst);
        });
        hub.lost(&leaves.link, START);
        assert!(
            !waited.load(Ordering::SeqCst) && !receipt.is_acknowledged(),
            "it moves"
        );
        let id = stays.messages()[0].id;
        stays.say(&ack(Kind::Puback, id));
        waits.join().unwrap();

        assert!(receipt.is_acknowledged());
        audit(hub, vec![leaves, stays]);
    });
}

/// Connections that write only when they are told: a connection that was not told has nothing to write, which
/// the audit checks; and what was published has come.
fn told_when_there_is_output(quietly: bool, qos: u8) {
    let hub = plain_hub();
    let subscriber = Client::subscriber(&hub, "subscriber", "t", 1).lazy();
    let subscriber = Arc::new(subscriber);
    let publish_from = |client_id: &'static str, first: u16| {
        let (hub, mut client) = (hub.clone(), Client::connect(&hub, &Connect::v5(client_id)));
        thread::spawn(move || {
            let mut dirty = Dirty::new();
            for number in first..first + 2 {
                let packet = publish("t", number).qos(qos, number).bytes();
                if quietly {
                    client.say_quietly(&packet, &mut dirty);
                } else {
                    client.say(&packet);
                }
            }
            hub.flush(&mut dirty, || START);
            client
        })
    };

    let publishers = [publish_from("one", 1), publish_from("two", 3)];
    let reader = subscriber.clone();
    let looks = thread::spawn(move || (0..3).for_each(|_| reader.look()));
    let mut clients: Vec<Client> = publishers.map(|p| p.join().unwrap()).into();
    looks.join().unwrap();

    let subscriber = Arc::into_inner(subscriber).expect("its threads have ended");
    subscriber.look();
    let mut seen = subscriber.numbers();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
    clients.push(subscriber);
    audit(hub, clients);
}

#[test]
fn a_connection_is_told_of_output() {
    explore(|| told_when_there_is_output(false, 0));
}

#[test]
fn a_connection_is_told_of_output_together() {
    explore(|| told_when_there_is_output(true, 0));
}

#[test]
fn a_connection_is_told_of_qos1_output() {
    explore(|| told_when_there_is_output(true, 1));
}

/// Messages that wait for the window move up when acknowledgements make room, whichever client publishes
/// meanwhile.
#[test]
fn what_waits_for_the_window_moves_up() {
    explore(|| {
        let hub = plain_hub();
        let mut subscriber = Client::connect(&hub, &Connect::v5("subscriber").receive_maximum(1));
        subscriber.say(&Subscribe::new(1).filter("t", 1).bytes());
        let mut publisher = Client::connect(&hub, &Connect::v5("publisher"));

        let publishes = thread::spawn(move || {
            for number in 1..=3 {
                publisher.say(&publish("t", number).qos(1, number).bytes());
            }
            publisher
        });
        for seen in 0..3 {
            while subscriber.messages().len() <= seen {
                thread::yield_now();
            }
            let id = subscriber.messages()[seen].id;
            subscriber.say(&ack(Kind::Puback, id));
        }
        let publisher = publishes.join().unwrap();

        assert_eq!(subscriber.numbers(), [1, 2, 3]);
        assert!(hub.is_settled());
        audit(hub, vec![subscriber, publisher]);
    });
}

/// A thread that waits for events gets what happens after it has asked.
#[test]
fn a_waiting_thread_gets_events() {
    explore(|| {
        let hub = plain_hub();
        let queue = Arc::new(Queue::new(QueueLimits::default()));
        hub.observe(EventMask::CLIENT_CONNECTED, queue.clone());

        let waits = thread::spawn(move || {
            let events = [queue.recv_timeout(None), queue.recv_timeout(None)];
            assert!(events.iter().all(Result::is_ok));
        });
        let connect = |client_id: &'static str| {
            let hub = hub.clone();
            thread::spawn(move || Client::connect(&hub, &Connect::v5(client_id)))
        };
        let clients = [connect("one"), connect("two")];
        let clients = clients.map(|client| client.join().unwrap()).into();
        waits.join().unwrap();
        audit(hub, clients);
    });
}

/// A panic in a read owes connections their flush, too, whether or not others are told at once.
#[test]
fn a_connection_is_told_after_a_panic() {
    explore(|| {
        let hub = hub(|_| (), Some(Arc::new(Panics)));
        let subscriber = Client::subscriber(&hub, "subscriber", "t", 0).lazy();
        let [mut one, mut other] =
            ["one", "other"].map(|id| Client::connect(&hub, &Connect::v5(id)));

        let publishes = thread::spawn(move || {
            let read = [publish("t", 1), publish("t", "panic")].map(|packet| packet.bytes());
            one.say(&read.concat());
            one
        });
        let mut dirty = Dirty::new();
        other.say_quietly(&publish("t", 2).bytes(), &mut dirty);
        hub.flush(&mut dirty, || START);
        let one = publishes.join().unwrap();

        subscriber.look();
        let mut seen = subscriber.numbers();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        audit_with_panics(hub, vec![one, other, subscriber], 1);
    });
}
