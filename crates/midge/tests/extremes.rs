//! The largest and smallest numbers that a host can give.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::time::Duration;

use common::{join, open};
use midge::{
    Broker, Clock, EventMask, OptionError, OptionKind, QoS, RecvError, Settings, StartError, Stop,
    SubscribeOptions,
};
use midge_testkit::{Client, Connect, PollingHost, Subscribe};

const LONG: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(u64::MAX / 1000),
    Duration::MAX,
];

/// A 3.1.1 client with a persistent session, keep alive 1 s, subscribed to `t` with QoS 1.
fn client(broker: &Broker) -> Client {
    let connect = Connect::new(4, "c").clean(false).keep_alive(1);
    let (mut client, _) = join(open(broker), &connect);
    // What is granted, or refused, depends on the options.
    client.request(&Subscribe::new(0).filter("t", 1));
    client
}

#[test]
fn every_wait_takes_any_duration() {
    let broker = Broker::builder().start().unwrap();
    let subscription = broker.subscribe("t").unwrap();
    let events = broker.events_with(EventMask::ALL, usize::MAX);
    for wait in LONG {
        broker.settle(wait).unwrap();
        let message = broker.message("t").qos(QoS::ExactlyOnce);
        let receipt = message.message_expiry(wait).send().unwrap();
        assert!(receipt.wait_acknowledged(wait));
        let message = subscription.recv_timeout(wait).unwrap();
        let seconds = wait.as_nanos().div_ceil(1_000_000_000);
        let expiry = u32::try_from(seconds).unwrap_or(u32::MAX);
        assert_eq!(message.message_expiry(), Some(expiry));
        events.recv_timeout(wait).unwrap();
    }

    broker.stop(Stop::Drain(Duration::MAX)).unwrap();
    for wait in LONG {
        assert_eq!(
            subscription.recv_timeout(wait).unwrap_err(),
            RecvError::Closed
        );
        assert!(broker.settle(wait).is_ok());
    }
}

#[test]
fn what_never_expires_outlives_every_move_of_the_clock() {
    let broker = Broker::builder().clock(Clock::Manual).start().unwrap();
    let before = client(&broker);
    broker
        .message("kept")
        .payload("x")
        .retain(true)
        .send()
        .unwrap();
    let message = broker.message("expires").payload("x").retain(true);
    message.message_expiry(Duration::MAX).send().unwrap();
    for by in LONG.into_iter().chain([Duration::MAX]) {
        broker.clock().advance(by);
    }
    drop(before);
    assert_eq!(broker.clients().len(), 0); // by its keep alive
    assert_eq!(broker.sessions().len(), 1);
    let kept: Vec<_> = broker
        .retained("#")
        .iter()
        .map(|m| m.topic().to_owned())
        .collect();
    assert_eq!(kept, ["kept"]);

    // And at the end of time the broker still works.
    let subscription = broker.subscribe("t").unwrap();
    let message = broker.message("t").qos(QoS::AtLeastOnce);
    message
        .message_expiry(Duration::from_secs(1))
        .send()
        .unwrap();
    assert!(subscription.recv().unwrap().message_expiry().is_some());
    broker.stop(Stop::Now).unwrap();
}

#[test]
fn queues_take_any_bound() {
    let broker = Broker::builder().start().unwrap();

    for (capacity, bytes) in [
        (0, 0),
        (usize::MAX, usize::MAX),
        (0, usize::MAX),
        (usize::MAX, 0),
    ] {
        let options = SubscribeOptions::default().capacity(capacity).bytes(bytes);
        let subscription = broker.subscribe_with(&["t"], options).unwrap();
        let events = broker.events_bounded(EventMask::ALL, capacity, bytes);
        broker.publish("t", "x").unwrap();
        broker.publish("t", "y").unwrap();
        let mut got = Vec::new();
        subscription.drain_into(&mut got, usize::MAX).unwrap();
        let all = if capacity.min(bytes) == 0 { 1 } else { 2 };
        assert_eq!(got.len(), all);
        assert_eq!(got.last().unwrap().payload(), b"y");
        assert_eq!(events.drain_into(&mut Vec::new(), usize::MAX).unwrap(), all);
    }
}

/// The least and the greatest number that an option says it takes.
fn bounds(accepted: &str) -> Vec<String> {
    let numbers = accepted.split(|c: char| !c.is_ascii_digit());
    let mut numbers: Vec<_> = numbers
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect();
    if accepted.contains("or more") {
        numbers = vec![
            numbers[0].clone(),
            u32::MAX.to_string(),
            usize::MAX.to_string(),
        ];
    }
    numbers
}

#[test]
fn every_option_works_at_its_bounds() {
    for option in Settings::options()
        .iter()
        .filter(|option| option.kind == OptionKind::Integer)
    {
        let mut tried = 0;
        for value in bounds(option.accepted) {
            let Ok(builder) = Broker::builder()
                .clock(Clock::Manual)
                .set(option.key, &value)
            else {
                continue; // "or more" of a smaller type
            };
            tried += 1;
            let broker = builder.start().unwrap();
            let _host = (broker.poller()).map(|_| PollingHost::start(&broker).unwrap());
            let mut client = client(&broker);
            let subscription = broker.subscribe("t").unwrap();
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                let message = broker.message("t").payload("x").qos(qos).retain(true);
                message.send().unwrap();
                assert_eq!(subscription.recv().unwrap().payload(), b"x");
            }
            client.barrier();
            broker.clock().advance(Duration::MAX);
            broker.stop(Stop::Now).unwrap();
            assert_eq!(broker.stats().panics, 0, "{} = {value}", option.key);
        }
        assert!(tried >= 2, "{}: {tried}", option.key);
    }
}

#[test]
fn a_number_that_an_option_does_not_take_is_refused_at_start() {
    let refused = |builder: midge::Builder| match builder.start() {
        Err(StartError::Option(OptionError::Value { key, .. })) => key,
        other => panic!("{other:?}"),
    };
    let builder = Broker::builder;
    assert_eq!(refused(builder().threads(usize::MAX)), "threads");
    let small = builder().config(|config| config.limits.packet_bytes = 0);
    assert_eq!(refused(small), "limits.packet_bytes");
    let long = builder().config(|config| config.hooks.timeout_ms = u64::MAX);
    assert_eq!(refused(long), "hooks.timeout_ms");
    let text = builder().config(|config| config.mqtt.response_information = "\0".into());
    assert_eq!(refused(text), "mqtt.response_information");
}
