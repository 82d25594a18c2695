//! Several brokers in one process, used by the same threads: none knows anything of another.

use std::sync::Arc;

use midge::{MessageRef, OwnedMessage, QoS, Subscription};

use crate::client;
use crate::common::{Server, broker};

/// Subscriptions that were made so far are as many in both, so that their numbers are the same.
fn pair(make: impl Fn(&Server, &str) -> Subscription) -> [(Server, Subscription); 2] {
    ["here", "there"].map(|topic| {
        let server = broker();
        let subscription = make(&server, topic);
        (server, subscription)
    })
}

/// All payloads that wait.
fn texts(subscription: &Subscription) -> Vec<String> {
    std::iter::from_fn(|| subscription.try_recv())
        .map(|message| String::from_utf8_lossy(message.payload()).into_owned())
        .collect()
}

/// Covers: none
#[test]
fn a_route_of_one_broker_is_not_used_by_another() {
    let [(here, at_here), (there, at_there)] =
        pair(|server, topic| server.subscribe(topic).expect("a subscription"));
    // Often enough for the thread to remember the route, in turns and in rows.
    for rounds in [1, 3] {
        for topic in ["here", "there"] {
            for _ in 0..rounds {
                let matched = here.publish(topic, "1").expect("a message").matched();
                assert_eq!(matched, usize::from(topic == "here"), "{topic}");
            }
            for _ in 0..rounds {
                let matched = there.publish(topic, "2").expect("a message").matched();
                assert_eq!(matched, usize::from(topic == "there"), "{topic}");
            }
        }
    }
    assert_eq!(texts(&at_here), ["1"; 4]);
    assert_eq!(texts(&at_there), ["2"; 4]);
}

/// Covers: none
#[test]
fn every_way_to_publish_is_of_one_broker() {
    let [(here, at_here), (there, at_there)] =
        pair(|server, topic| server.subscribe(topic).expect("a subscription"));
    let prepared = OwnedMessage::new("here", "p").prepare().expect("a message");
    for _ in 0..4 {
        assert_eq!(
            here.publish_prepared(&prepared)
                .expect("a message")
                .matched(),
            1
        );
        assert_eq!(
            there
                .publish_prepared(&prepared)
                .expect("a message")
                .matched(),
            0
        );
        let parts = || MessageRef::new("here", b"r");
        let matched = |server: &Server, from: Option<&str>| {
            let receipt = server.publish_ref(parts(), from, false);
            receipt.expect("a message").matched()
        };
        assert_eq!((matched(&here, None), matched(&there, None)), (1, 0));
        assert_eq!(
            (matched(&here, Some("me")), matched(&there, Some("me"))),
            (1, 0)
        );
    }

    assert_eq!(texts(&at_here), ["p", "r", "r"].repeat(4));
    assert!(texts(&at_there).is_empty());
}

/// Covers: none
#[test]
fn clients_get_what_is_published_to_their_broker() {
    for version in crate::VERSIONS {
        let servers = [broker(), broker()];
        let mut clients = ["here", "there"].map(String::from).into_iter();
        let mut readers = servers.each_ref().map(|server| {
            let mut reader = client(server, version, "reader");
            reader.subscribe(&clients.next().expect("a topic"), 1);
            reader
        });
        let mut publishers = servers
            .each_ref()
            .map(|server| client(server, version, "publisher"));
        for round in 0..4 {
            for (server, publisher) in servers.iter().zip(&mut publishers) {
                let message = server.message("here").payload(format!("host {round}"));
                message.qos(QoS::AtLeastOnce).send().expect("a message");
                publisher.publish("here", format!("client {round}"), 1);
            }
            let [here, there] = &mut readers;
            for from in ["host", "client"] {
                assert_eq!(here.receive().text(), format!("{from} {round}"));
            }
            there.expect_nothing();
            here.expect_nothing();
        }
    }
}

/// Covers: none
#[test]
fn one_broker_ends_and_the_other_goes_on() {
    let [(here, at_here), (there, at_there)] =
        pair(|server, _| server.subscribe("both").expect("a subscription"));
    let publish = |server: &Server, number: usize| {
        let payload = number.to_string();
        server
            .publish("both", payload)
            .map(|receipt| receipt.matched())
    };

    for number in 0..3 {
        assert_eq!(
            (publish(&here, number), publish(&there, number)),
            (Ok(1), Ok(1))
        );
    }

    here.stop(midge::Stop::Now).expect("a stop");
    drop(here);
    for number in 3..6 {
        assert_eq!(publish(&there, number), Ok(1));
    }

    // The next one gets numbers of its own.
    let next = broker();
    for number in 0..3 {
        assert_eq!(
            (publish(&next, number), publish(&there, 6 + number)),
            (Ok(0), Ok(1))
        );
    }

    assert_eq!(texts(&at_here).len(), 3);
    assert_eq!(texts(&at_there).len(), 9);
    drop(at_there);
    assert_eq!(publish(&there, 9), Ok(0));
}

/// Covers: none
#[test]
fn a_hook_of_one_broker_may_publish_to_another() {
    struct Bridge(Arc<Server>);
    impl midge::Hooks for Bridge {
        fn set(&self) -> midge::HookSet {
            midge::HookSet::AUTHORIZE_PUBLISH
        }

        fn authorize_publish(
            &self,
            _: &midge::ClientInfo,
            message: &MessageRef<'_>,
        ) -> midge::Verdict {
            let there = self.0.publish(message.topic, message.payload.to_vec());
            there.expect("a message");
            midge::Verdict::Allow
        }
    }
    let there = Arc::new(broker());
    let at_there = there.subscribe("there").expect("a subscription");
    let here = crate::common::broker_with(|builder| builder.hooks(Bridge(there.clone())));
    let at_here = here.subscribe("here").expect("a subscription");
    for _ in 0..3 {
        for topic in ["here", "there"] {
            let parts = MessageRef::new(topic, b"x");
            let receipt = here.publish_ref(parts, Some("client"), false);
            assert_eq!(
                receipt.expect("a message").matched(),
                usize::from(topic == "here")
            );
        }
    }
    assert_eq!((texts(&at_here).len(), texts(&at_there).len()), (3, 3));
}
