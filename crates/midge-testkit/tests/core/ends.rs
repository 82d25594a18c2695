//! What is said at the end of connections, and what the host sees of short ways.

use std::sync::Arc;

use midge::{QoS, ReasonCode};
use midge_core::{
    DisconnectReason, Event, EventMask, MessageRef, Observed, Queue, QueueLimits, Received,
};
use midge_testkit::{Connect, PropsBuf, Subscribe, Will};

use crate::world::{Client, START, hub};

fn queue<T>() -> Arc<Queue<T>> {
    Arc::new(Queue::new(QueueLimits::default()))
}

/// All that wait.
fn all<T>(queue: &Queue<T>) -> Vec<T> {
    let mut all = Vec::new();
    let _ = queue.drain_into(&mut all, usize::MAX);
    all
}

/// Covers: none
#[test]
fn wills_go_out_at_shutdown_if_the_host_wants_them() {
    for wanted in [true, false] {
        let hub = hub(|config| config.shutdown.wills = wanted);
        let wills = queue::<Received>();
        let _handle = hub
            .observe_messages(&["will/+"], QoS::ExactlyOnce, true, wills.clone(), START)
            .unwrap();
        let mut watcher = Client::plain(&hub, "watcher");
        watcher.say(Subscribe::new(1).filter("will/+", 1).bytes());
        watcher.read();
        let will = |name: &str| Will::new(format!("will/{name}"), name).qos(1).retain();
        let testators = [
            Connect::v5("ends").will(will("ends")),
            Connect::v5("stays").expiry(50).will(will("stays")),
            Connect::v5("waits")
                .expiry(50)
                .will(will("waits").props(PropsBuf::new().u32(0x18, 20))),
        ];
        let testators = testators.map(|connect| Client::connect(&hub, &connect));
        hub.shut_down(START);

        let expected = if wanted { 3 } else { 0 };
        assert_eq!(all(&wills).len(), expected);
        assert_eq!(hub.retained("will/+", START).len(), expected);
        assert_eq!(watcher.texts().len(), expected);
        for testator in testators {
            assert_eq!(testator.link.ended(), Some(&DisconnectReason::Shutdown));
            testator.close();
        }
        // Nor later.
        hub.fire(START.after_s(50));
        assert_eq!(all(&wills).len(), 0);
    }
}

/// Covers: none
#[test]
fn an_observer_of_publishes_sees_those_of_the_host_to_itself() {
    let hub = hub(|_| ());
    let messages = queue::<Received>();
    let _handle = hub
        .observe_messages(&["t"], QoS::ExactlyOnce, false, messages.clone(), START)
        .unwrap();
    let publish = || {
        let receipt = hub.publish_from_host(MessageRef::new("t", b"x"), None, || START, false);
        assert_eq!(receipt.unwrap().matched(), 1);
    };
    // The route is remembered, with and without an observer of events.
    for _ in 0..3 {
        publish();
    }
    let events = queue::<Observed>();
    hub.observe(EventMask::PUBLISHED, events.clone());
    for _ in 0..3 {
        publish();
    }
    hub.unobserve(&events);
    publish();
    let others = queue::<Observed>();
    hub.observe(EventMask::DROPPED, others.clone());
    publish();

    assert_eq!(all(&messages).len(), 8);
    let published = all(&events);
    assert_eq!(published.len(), 3);
    assert!(
        published
            .iter()
            .all(|seen| matches!(&seen.event, Event::Published { .. }))
    );
    assert!(all(&others).is_empty());
}

/// Covers: none
#[test]
fn what_has_not_changed_is_not_published_again_as_sys() {
    let hub = hub(|config| config.sys.interval_s = 10);
    let sys = queue::<Received>();
    let _handle = hub
        .observe_messages(&["$SYS/#"], QoS::ExactlyOnce, false, sys.clone(), START)
        .unwrap();
    assert!(hub.retained("$SYS/#", START).len() > 20);
    for seconds in [10, 20, 30] {
        assert_eq!(hub.next_deadline(), Some(START.after_s(seconds)));
        hub.fire(START.after_s(seconds));
        let topics: Vec<_> = (all(&sys).iter())
            .map(|received| received.message().topic().to_owned())
            .collect();
        assert!(
            topics.iter().any(|topic| topic == "$SYS/broker/uptime"),
            "{topics:?}"
        );
        assert!(
            topics.iter().all(|topic| topic != "$SYS/broker/version"),
            "{topics:?}"
        );
    }

    assert!(hub.stats(START).retained == 0, "they are not counted");
}

/// Covers: none
#[test]
fn a_connection_that_is_not_accepted_is_told_of_with_its_reason() {
    for (connections, rate, expected) in [
        (1, 0, ReasonCode::QuotaExceeded),
        (9, 1, ReasonCode::ConnectionRateExceeded),
    ] {
        let hub = hub(|config| {
            config.limits.connections = connections;
            config.limits.connect_rate = rate;
        });
        let events = queue::<Observed>();
        hub.observe(EventMask::CONNECTION_REFUSED, events.clone());
        let _first = Client::accept(&hub);
        assert!(Client::try_accept(&hub).is_none());
        let reasons: Vec<_> = (all(&events).into_iter())
            .map(|seen| match seen.event {
                Event::ConnectionRefused { reason, .. } => reason,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reasons, [DisconnectReason::Refused(expected)]);
    }
}
