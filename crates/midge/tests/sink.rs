//! A subscription that ends in the host's own queue.

#![allow(clippy::unwrap_used)] // a test may fail

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use midge::{Broker, Message, Pushed, QoS, Sink, Stop};

/// Takes up to three messages.
#[derive(Default)]
struct Own {
    got: Mutex<Vec<(String, bool)>>,
    waiting: AtomicBool,
    wakes: AtomicUsize,
    closes: AtomicUsize,
}

struct Entrance(Arc<Own>);

impl Sink for Entrance {
    fn push(&self, message: Message) -> Pushed {
        let mut got = self.0.got.lock().unwrap();
        if got.len() == 3 {
            return Pushed {
                lost: 1,
                awaited: false,
            };
        }
        got.push((message.topic().to_owned(), message.retain()));
        Pushed {
            lost: 0,
            awaited: self.0.waiting.load(Ordering::Relaxed),
        }
    }

    fn wake(&self) {
        self.0.wakes.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self) {
        self.0.closes.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn messages_go_straight_into_the_hosts_own_queue() {
    let broker = Broker::builder().start().unwrap();
    let own = Arc::new(Own::default());
    broker
        .message("t/kept")
        .payload("x")
        .retain(true)
        .send()
        .unwrap();
    let feed = broker
        .subscribe_to(&["t/#"], QoS::AtLeastOnce, true, Entrance(own.clone()))
        .unwrap();
    let woken = own.wakes.load(Ordering::Relaxed);
    broker.publish("t/1", "nobody waits").unwrap();
    broker.publish("other", "x").unwrap();
    assert_eq!(own.wakes.load(Ordering::Relaxed), woken);
    own.waiting.store(true, Ordering::Relaxed);
    broker.publish("t/2", "somebody waits").unwrap();
    assert_eq!(own.wakes.load(Ordering::Relaxed), woken + 1);
    for _ in 0..2 {
        broker.publish("t/3", "full").unwrap();
    }
    let expected = [("t/kept", true), ("t/1", false), ("t/2", false)];
    let got = own.got.lock().unwrap().clone();
    assert_eq!(got, expected.map(|(topic, kept)| (topic.to_owned(), kept)));
    let full = midge::DropReason::ObserverFull;
    assert_eq!(broker.stats().dropped[full as usize], 2);

    drop(feed);
    assert_eq!(own.closes.load(Ordering::Relaxed), 1);
    own.got.lock().unwrap().clear();
    assert_eq!(broker.publish("t/4", "after the end").unwrap().matched(), 0);
    assert!(own.got.lock().unwrap().is_empty());
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn a_sink_is_closed_with_its_broker_and_a_wrong_filter_names_itself() {
    let broker = Broker::builder().start().unwrap();
    let own = Arc::new(Own::default());
    let wrong = broker.subscribe_to(&["t/#/x"], QoS::AtMostOnce, true, Entrance(own.clone()));
    assert!(wrong.unwrap_err().to_string().contains("t/#/x"));
    let feed = broker.subscribe_to(&["t/#"], QoS::AtMostOnce, false, Entrance(own.clone()));
    broker.stop(Stop::Now).unwrap();
    assert!(own.closes.load(Ordering::Relaxed) >= 1);
    drop(feed);
    assert_eq!(Arc::strong_count(&own), 1);
}
