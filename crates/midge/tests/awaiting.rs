//! Asynchronous code without a runtime: streams, receipts, futures that are given up.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use common::{client, subscriber};
use futures_core::Stream;
use midge::{Broker, Condition, Event, QoS, Stop, WaitError};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// The next item of a stream.
fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    wait(std::future::poll_fn(|cx| {
        Pin::new(&mut *stream).poll_next(cx)
    }))
}

const CONNECTED: Condition<'_> = Condition::Connected("c");
const DISCONNECTED: Condition<'_> = Condition::Disconnected("c");

fn subscribed(clients: usize) -> Condition<'static> {
    let topic = "t";
    Condition::Subscribers { topic, clients }
}

/// Lets a future wait before something happens, and until it is done after that.
fn wait_during(future: impl Future<Output = Result<(), WaitError>>, happen: impl FnOnce()) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    happen();
    wait(future).unwrap();
}

#[test]
fn a_wait_for_clients_misses_nothing_and_looks_first() {
    let broker = Broker::builder().start().unwrap();
    let mut clients = Vec::new();
    broker.wait_for(DISCONNECTED, Duration::ZERO).unwrap();
    wait_during(broker.wait_for_async(CONNECTED), || {
        clients.push(client(&broker, "c"));
    });
    broker.wait_for(CONNECTED, Duration::ZERO).unwrap();

    wait_during(broker.wait_for_async(subscribed(1)), || {
        clients[0].subscribe("+", 1);
        clients[0].subscribe("t", 0);
    });
    // One client with two filters that match is one client.
    let second = broker.wait_for_async(subscribed(2));
    wait_during(second, || {
        let mut client = client(&broker, "other");
        client.subscribe("elsewhere", 0);
        client.subscribe("$share/g/t", 0);
        clients.push(client);
    });
    broker.wait_for(subscribed(2), Duration::ZERO).unwrap();

    wait_during(broker.wait_for_async(DISCONNECTED), || clients.clear());
}

#[test]
fn a_blocking_wait_for_clients_ends_with_what_comes() {
    let broker = Broker::builder().start().unwrap();
    let waiting = thread::spawn({
        let broker = broker.clone();
        move || broker.wait_for(subscribed(1), Duration::MAX)
    });
    let _client = subscriber(&broker, "c", 1);
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_wait_for_clients_ends_in_time_and_with_the_broker() {
    let broker = Broker::builder().start().unwrap();
    let late = broker.wait_for(CONNECTED, Duration::ZERO);
    assert_eq!(late, Err(WaitError::Timeout(Duration::ZERO)));
    assert_eq!(late.unwrap_err().to_string(), "not within 0ns");

    let waiting = thread::spawn({
        let broker = broker.clone();
        move || broker.wait_for(CONNECTED, Duration::MAX)
    });
    broker.stop(Stop::Now).unwrap();
    assert_eq!(waiting.join().unwrap(), Err(WaitError::Stopped));
    assert_eq!(
        wait(broker.wait_for_async(CONNECTED)),
        Err(WaitError::Stopped)
    );
}

#[test]
fn subscriptions_and_events_are_streams() {
    let broker = Broker::builder().start().unwrap();
    let (mut messages, mut events) = (broker.subscribe("t").unwrap(), broker.events());
    let publisher = thread::spawn({
        let broker = broker.clone();
        move || {
            for n in 0..100 {
                broker.publish("t", n.to_string()).unwrap();
            }
            client(&broker, "c");
        }
    });

    for n in 0..100 {
        let message = next(&mut messages).unwrap();
        assert_eq!(message.payload(), n.to_string().as_bytes());
    }

    let connected = next(&mut events).unwrap().event;
    assert!(matches!(connected, Event::ClientConnected { .. }));
    publisher.join().unwrap();
    broker.stop(Stop::Now).unwrap();
    while next(&mut events).is_some() {}
    assert!(next(&mut messages).is_none());
}

#[test]
fn a_receipt_can_be_awaited() {
    let broker = Broker::builder().start().unwrap();
    wait(broker.publish("t", "nobody").unwrap().into_future());

    let mut client = subscriber(&broker, "c", 1);

    let receipt = broker.message("t").qos(QoS::AtLeastOnce).send().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..3 {
        assert!(pin!(receipt.acknowledged()).poll(&mut context).is_pending());
    }

    let client = thread::spawn(move || {
        let message = client.expect_message("t", "");
        client.acknowledge(&message);
        client
    });

    wait((&receipt).into_future());
    assert!(receipt.is_acknowledged());
    wait(async { receipt.await });
    drop(client.join().unwrap());
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_future_that_was_given_up_is_not_woken_and_keeps_nothing() {
    let broker = Broker::builder().start().unwrap();
    let subscription = broker.subscribe("t").unwrap();
    let (gone, stays) = (Arc::new(Count::default()), Arc::new(Count::default()));
    for _ in 0..100 {
        // As a select! does that comes by another way each time.
        let waker = Waker::from(gone.clone());
        let mut context = Context::from_waker(&waker);
        assert!(
            pin!(subscription.recv_async())
                .poll(&mut context)
                .is_pending()
        );
    }

    assert_eq!(Arc::strong_count(&gone), 1);

    let waker = Waker::from(stays.clone());
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(subscription.recv_async());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    broker.publish("t", "x").unwrap();
    assert_eq!(gone.0.load(Ordering::Relaxed), 0);
    assert_eq!(stays.0.load(Ordering::Relaxed), 1);
    assert!(waiting.poll(&mut context).is_ready());
}
