//! Packets that are handled in slices, step by step: what others see in between.
#![allow(clippy::expect_used)] // a test may fail

use std::sync::Arc;
use std::task::{Context, Waker};

use midge_codec::{
    Connect, Packet, Properties, Side, Subscribe, SubscribeFilter, SubscriptionOptions,
    Unsubscribe, Version, decode, split,
};
use midge_core::{Config, Connection, Flush, Hub, Link, Outbox, OwnedMessage, Tick};

const NOW: Tick = Tick(1);

struct Quiet;

impl Flush for Quiet {
    fn flush(&self) {}
}

struct Client {
    hub: Arc<Hub>,
    link: Arc<Link>,
    connection: Connection,
}

impl Client {
    fn new(hub: &Arc<Hub>, client_id: &str) -> Self {
        let notify = Arc::new(Quiet);
        let link = hub.accept("peer".into(), "listener".into(), notify, NOW);
        let link = link.expect("there is room");
        let mut client = Self {
            hub: hub.clone(),
            connection: Connection::new(hub.clone(), link.clone()),
            link,
        };

        client.send(&Packet::Connect(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            properties: Properties::EMPTY,
            client_id,
            will: None,
            username: None,
            password: None,
        }));
        assert_eq!(client.take(), [2]);
        client
    }

    /// Whether the packet was handled at once.
    fn send(&mut self, packet: &Packet<'_>) -> bool {
        let mut bytes = Vec::new();
        midge_codec::encode(packet, Version::V5, &mut bytes).expect("a valid packet");
        let used = self.connection.receive(&bytes, None, NOW);
        assert_eq!(used, bytes.len());
        !self.connection.is_waiting()
    }

    /// Handles the next slice.
    fn go_on(&mut self) {
        assert!(self.connection.gives_way());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(self.connection.poll(&mut cx, NOW).is_ready());
    }

    /// The types of the packets that are to be written.
    fn take(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let mut out = Outbox::default();
            let mut work = Vec::new();
            (self.hub).next_output(&self.link, false, &mut out, &mut work, || NOW);
            while !out.is_empty() {
                all.extend_from_slice(out.chunk());
                out.advance(out.chunk().len());
            }
            if work.is_empty() {
                break;
            }
            for mut batch in work {
                self.hub.finish(&mut batch);
            }
        }

        let mut rest = &all[..];
        let mut types = Vec::new();
        while let Some(raw) = split(rest, u32::MAX).expect("well formed") {
            assert!(decode(raw, Version::V5, Side::Server).is_ok());
            types.push(raw.header >> 4);
            rest = &rest[raw.len..];
        }

        assert!(rest.is_empty());
        types
    }
}

const SUBACK: u8 = 9;
const UNSUBACK: u8 = 11;
const PUBLISH: u8 = 3;

/// Filters of 41 levels: some fifty of them are a slice.
fn filters(count: usize) -> Vec<String> {
    let deep = "/a".repeat(39);
    (0..count).map(|n| format!("f/{n}{deep}")).collect()
}

fn subscribe(filters: &[String]) -> Packet<'_> {
    let filter = |filter| SubscribeFilter {
        filter,
        options: SubscriptionOptions::default(),
    };
    Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: Properties::EMPTY,
        filters: filters.iter().map(|text| filter(text)).collect(),
    })
}

fn hub() -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    Hub::new(config, None, None, "test", NOW)
}

fn publish(hub: &Arc<Hub>, topic: &str) {
    let message = OwnedMessage::new(topic, "x");
    let result = hub.publish_from_host(message.parts(), None, || NOW, false);
    assert!(result.is_ok());
}

#[test]
fn suback_comes_before_what_the_first_slices_bring() {
    let hub = hub();
    let filters = filters(300);
    let retained = OwnedMessage::new(filters[1].as_str(), "r");
    hub.set_retained(&retained, NOW).expect("there is room");
    let mut client = Client::new(&hub, "client");
    assert!(client.send(&Packet::Pingreq));

    assert!(!client.send(&subscribe(&filters)));
    let mut slices = 1;
    while client.connection.is_waiting() {
        // The first filter has its subscription, the last one has none; nothing leaves so far.
        publish(&hub, &filters[0]);
        publish(&hub, &filters[299]);
        assert!(client.take().is_empty());
        client.go_on();
        slices += 1;
    }
    assert!(slices > 3);
    let out = client.take();
    // PINGRESP, SUBACK, a message for each but the last slice, the retained one.
    assert_eq!(out[..2], [13, SUBACK]);
    assert_eq!(out[2..], vec![PUBLISH; slices]);
    assert_eq!(hub.stats(NOW).subscriptions, 300);
}

#[test]
fn a_large_unsubscribe_is_answered_once() {
    let hub = hub();
    let filters = filters(300);
    let mut client = Client::new(&hub, "client");
    client.send(&subscribe(&filters));
    while client.connection.is_waiting() {
        client.go_on();
    }
    assert_eq!(client.take(), [SUBACK]);

    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let packet = Packet::Unsubscribe(Unsubscribe {
        packet_id: 2,
        properties: Properties::EMPTY,
        filters,
    });
    assert!(!client.send(&packet));
    while client.connection.is_waiting() {
        assert!(client.take().is_empty());
        client.go_on();
    }
    assert_eq!(client.take(), [UNSUBACK]);
    assert_eq!(hub.stats(NOW).subscriptions, 0);
}

#[test]
fn a_client_that_leaves_between_slices_leaves_nothing_behind() {
    let hub = hub();
    let filters = filters(300);
    let mut client = Client::new(&hub, "client");
    assert!(!client.send(&subscribe(&filters)));
    // Another connection takes the session over, which ends with it.
    let mut other = Client::new(&hub, "client");
    assert!(client.link.ended().is_some());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(client.connection.poll(&mut cx, NOW).is_ready());
    assert!(!client.connection.is_waiting());
    assert_eq!(hub.stats(NOW).subscriptions, 0);
    publish(&hub, &filters[0]);
    publish(&hub, &filters[299]);
    assert!(other.take().is_empty());
}

#[test]
fn many_small_packets_are_several_turns() {
    let hub = hub();
    let mut client = Client::new(&hub, "client");
    let pings = [0xC0, 0].repeat(20_000);
    let (mut used, mut turns) = (0, 0);
    while used < pings.len() {
        used += client.connection.receive(&pings[used..], None, NOW);
        turns += 1;
        while client.connection.is_waiting() {
            client.go_on();
        }
    }
    assert_eq!(turns, 3);
    assert_eq!(client.take().len(), 20_000);
}
