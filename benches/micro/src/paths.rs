//! The paths themselves.

use std::hint::black_box;
use std::sync::{Arc, Barrier};

use midge::{Broker, SubscribeOptions};
use midge_codec::{
    MessageProperties, Packet, Properties, PropertiesBuf, Property, Publish, PublishFrame, QoS,
    Side, TopicFilter, Version,
};
use midge_core::{Config, HookSet, Hooks, Hub, Tick};

use crate::client::{Client, encode, publish_bytes};

/// One measured path.
pub struct Path {
    /// Its name.
    pub name: &'static str,
    /// Units of work (messages, subscriptions) in one call.
    pub units: u64,
    /// Sets it up; each call of the result does the work once.
    pub setup: fn() -> Box<dyn FnMut()>,
}

/// All paths.
pub const PATHS: &[Path] = &[
    Path {
        name: "decode_publish_q0",
        units: BATCH,
        setup: || decode(Version::V311, QoS::AtMostOnce, false),
    },
    Path {
        name: "decode_publish_q1_v5_properties",
        units: BATCH,
        setup: || decode(Version::V5, QoS::AtLeastOnce, true),
    },
    Path {
        name: "decode_puback",
        units: BATCH,
        setup: decode_puback,
    },
    Path {
        name: "encode_publish_q0",
        units: 1,
        setup: || encode_packet(Version::V311, false),
    },
    Path {
        name: "encode_publish_v5_properties",
        units: 1,
        setup: || encode_packet(Version::V5, true),
    },
    Path {
        name: "encode_frame_q1",
        units: 1,
        setup: encode_frame,
    },
    Path {
        name: "filter_matches",
        units: FILTERS.len() as u64,
        setup: filter_matches,
    },
    Path {
        name: "p2p_q0",
        units: BATCH,
        setup: || p2p(Version::V311, QoS::AtMostOnce, false),
    },
    Path {
        name: "p2p_q1",
        units: BATCH,
        setup: || p2p(Version::V311, QoS::AtLeastOnce, false),
    },
    Path {
        name: "p2p_q2",
        units: BATCH,
        setup: || p2p(Version::V311, QoS::ExactlyOnce, false),
    },
    Path {
        name: "p2p_q0_v5_properties",
        units: BATCH,
        setup: || p2p(Version::V5, QoS::AtMostOnce, true),
    },
    Path {
        name: "p2p_q1_v5",
        units: BATCH,
        setup: || p2p(Version::V5, QoS::AtLeastOnce, false),
    },
    Path {
        name: "p2p_q0_single",
        units: 1,
        setup: p2p_single,
    },
    Path {
        name: "hooks_publish_q0",
        units: BATCH,
        setup: || asked(HookSet::AUTHORIZE_PUBLISH.union(HookSet::INTERCEPT_PUBLISH)),
    },
    Path {
        name: "hooks_receive_q0",
        units: BATCH,
        setup: || asked(HookSet::AUTHORIZE_RECEIVE.union(HookSet::INTERCEPT_DELIVERY)),
    },
    Path {
        name: "fanout_100_q0",
        units: 100,
        setup: fan_out,
    },
    Path {
        name: "shared_10_q0",
        units: BATCH,
        setup: shared,
    },
    Path {
        name: "route_of_100k_exact",
        units: TOPICS,
        setup: || route(topic),
    },
    Path {
        name: "route_of_100k_plus",
        units: TOPICS,
        setup: || route(|k| format!("ss/{:02}/{:03}/+", k / 1000, k % 1000)),
    },
    Path {
        name: "route_of_100k_mid_plus",
        units: TOPICS,
        setup: || route(|k| format!("ss/{:02}/+/v", k / 1000)),
    },
    Path {
        name: "subscribe_unsubscribe",
        units: 1,
        setup: subscribe,
    },
    Path {
        name: "connect_disconnect",
        units: 1,
        setup: connect,
    },
    Path {
        name: "host_to_subscription",
        units: HOST,
        setup: || host(64),
    },
    Path {
        name: "host_to_callback",
        units: HOST,
        setup: host_callback,
    },
    Path {
        name: "host_to_nobody",
        units: 1,
        setup: host_nobody,
    },
];

/// Messages in one read buffer.
const BATCH: u64 = 64;
/// Distinct topics of the routing paths: more than any cache of a connection remembers.
const TOPICS: u64 = 256;
/// Messages between two looks of an in-process subscriber.
const HOST: u64 = 64;
const TOPIC: &str = "ward/7/bed/3/spo2";
const PAYLOAD: &[u8] = b"0123456789abcdef";

fn properties(with: bool) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    if with {
        for property in [
            Property::ContentType("application/json"),
            Property::UserProperty("unit", "percent"),
        ] {
            properties.push(property).expect("it fits");
        }
    }
    properties
}

/// A read buffer of publishes, with ascending packet identifiers.
fn batch(version: Version, qos: QoS, with_properties: bool, topic: &str) -> Vec<u8> {
    let properties = properties(with_properties);
    let id = |n: u64| {
        if qos == QoS::AtMostOnce {
            0
        } else {
            n as u16 + 1
        }
    };

    (0..BATCH)
        .flat_map(|n| {
            publish_bytes(
                version,
                topic,
                qos,
                id(n),
                properties.as_properties(),
                PAYLOAD,
            )
        })
        .collect()
}

fn decode_all(bytes: &[u8], version: Version) {
    let mut rest = bytes;
    while let Ok(Some(raw)) = midge_codec::split(rest, 1 << 20) {
        rest = &rest[raw.len..];
        let _ = black_box(midge_codec::decode(raw, version, Side::Client));
    }
    assert!(rest.is_empty());
}

fn decode(version: Version, qos: QoS, with_properties: bool) -> Box<dyn FnMut()> {
    let bytes = batch(version, qos, with_properties, TOPIC);
    Box::new(move || decode_all(black_box(&bytes), version))
}

fn decode_puback() -> Box<dyn FnMut()> {
    let bytes: Vec<u8> = (0..BATCH).flat_map(|n| [0x40, 2, 0, n as u8 + 1]).collect();
    Box::new(move || decode_all(black_box(&bytes), Version::V311))
}

fn encode_packet(version: Version, with_properties: bool) -> Box<dyn FnMut()> {
    let properties = properties(with_properties);
    let mut out = Vec::with_capacity(256);
    Box::new(move || {
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: TOPIC,
            packet_id: 0,
            properties: properties.as_properties(),
            payload: PAYLOAD,
        };
        out.clear();
        let _ = midge_codec::encode(black_box(&Packet::Publish(publish)), version, &mut out);
        black_box(&out);
    })
}

fn encode_frame() -> Box<dyn FnMut()> {
    let properties = properties(true);
    let mut block = Vec::new();
    MessageProperties::new(properties.as_properties()).append_block(&mut block);

    let mut out = Vec::with_capacity(256);
    Box::new(move || {
        let frame = PublishFrame {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: TOPIC,
            packet_id: 7,
            topic_alias: None,
            message_expiry: Some(60),
            subscription_ids: &[],
            block: &block,
            payload_len: PAYLOAD.len(),
        };
        out.clear();
        black_box(&frame).encode_with(Version::V5, PAYLOAD, &mut out);
        black_box(&out);
    })
}

const FILTERS: [&str; 4] = [TOPIC, "ward/+/bed/+/spo2", "ward/7/#", "icu/+/bed/+/spo2"];

fn filter_matches() -> Box<dyn FnMut()> {
    Box::new(|| {
        for filter in FILTERS {
            let filter = TopicFilter::new(filter).expect("a valid filter");
            black_box(filter.matches(black_box(TOPIC)));
        }
    })
}

fn hub() -> Arc<Hub> {
    hub_with(None)
}

fn hub_with(hooks: Option<Arc<dyn Hooks>>) -> Arc<Hub> {
    let mut config = Config::default();
    config.sys.interval_s = 0;
    Hub::new(config, hooks, None, "bench", Tick(0))
}

/// Hooks that have no objection.
struct Agreeing(HookSet);

impl Hooks for Agreeing {
    fn set(&self) -> HookSet {
        self.0
    }
}

/// Answers acknowledgements until both sides have nothing to say: what `from` wrote comes in.
fn answer(bytes: &[u8], replies: &mut Vec<u8>) {
    let mut rest = bytes;
    replies.clear();

    while let [header, tail @ ..] = rest {
        let len = usize::from(tail[0]) + 2;
        let reply = match header >> 4 {
            3 if header & 6 == 2 => Some(0x40),
            3 if header & 6 == 4 => Some(0x50),
            5 => Some(0x62),
            6 => Some(0x70),
            _ => None,
        };
        // PUBLISH carries the identifier behind the topic, the others at once.
        let at = if header >> 4 == 3 {
            4 + usize::from(rest[3])
        } else {
            2
        };
        if let Some(reply) = reply {
            replies.extend_from_slice(&[reply, 2, rest[at], rest[at + 1]]);
        }
        rest = &rest[len..];
    }
}

/// Messages from the bytes of a publisher to the bytes of a subscriber, with all acknowledgements.
fn p2p(version: Version, qos: QoS, with_properties: bool) -> Box<dyn FnMut()> {
    between_two(&hub(), version, qos, with_properties)
}

/// The same with hooks that are asked about each message.
fn asked(hooks: HookSet) -> Box<dyn FnMut()> {
    let hub = hub_with(Some(Arc::new(Agreeing(hooks))));
    between_two(&hub, Version::V311, QoS::AtMostOnce, false)
}

fn between_two(
    hub: &Arc<Hub>,
    version: Version,
    qos: QoS,
    with_properties: bool,
) -> Box<dyn FnMut()> {
    let mut subscriber = Client::connect(hub, "s", version);
    subscriber.subscribe(&[TOPIC], qos);

    let mut publisher = Client::connect(hub, "p", version);
    let bytes = batch(version, qos, with_properties, TOPIC);
    let mut replies = Vec::new();
    Box::new(move || {
        publisher.send(&bytes);
        loop {
            let mut quiet = true;
            for side in [&mut publisher, &mut subscriber] {
                side.output(|bytes| answer(bytes, &mut replies));
                quiet &= replies.is_empty();
                side.send(&replies);
            }
            if quiet {
                break;
            }
        }
    })
}

/// One message a read: the share of the batch is not spread over many.
fn p2p_single() -> Box<dyn FnMut()> {
    let hub = hub();
    let mut subscriber = Client::connect(&hub, "s", Version::V311);
    subscriber.subscribe(&[TOPIC], QoS::AtMostOnce);
    let mut publisher = Client::connect(&hub, "p", Version::V311);
    let qos = QoS::AtMostOnce;
    let bytes = publish_bytes(Version::V311, TOPIC, qos, 0, Properties::EMPTY, PAYLOAD);
    Box::new(move || {
        publisher.send(&bytes);
        assert!(subscriber.take() > 0);
    })
}

fn subscribers(hub: &Arc<Hub>, count: usize, filter: &str) -> Vec<Client> {
    (0..count)
        .map(|n| {
            let mut client = Client::connect(hub, &format!("s-{n}"), Version::V311);
            client.subscribe(&[filter], QoS::AtMostOnce);
            client
        })
        .collect()
}

fn fan_out() -> Box<dyn FnMut()> {
    let hub = hub();
    let mut subscribers = subscribers(&hub, 100, "ward/#");
    let mut publisher = Client::connect(&hub, "p", Version::V311);
    let qos = QoS::AtMostOnce;
    let bytes = publish_bytes(Version::V311, TOPIC, qos, 0, Properties::EMPTY, PAYLOAD);
    Box::new(move || {
        publisher.send(&bytes);
        for subscriber in &mut subscribers {
            assert!(subscriber.take() > 0);
        }
    })
}

fn shared() -> Box<dyn FnMut()> {
    let hub = hub();
    let mut subscribers = subscribers(&hub, 10, "$share/g/ward/#");
    let mut publisher = Client::connect(&hub, "p", Version::V311);
    let bytes = batch(Version::V311, QoS::AtMostOnce, false, TOPIC);
    Box::new(move || {
        publisher.send(&bytes);
        for subscriber in &mut subscribers {
            assert!(subscriber.take() > 0);
        }
    })
}

fn topic(k: u64) -> String {
    format!("ss/{:02}/{:03}/v", k / 1000, k % 1000)
}

/// Messages on topics that no cache has, among 100,000 subscriptions of 100 clients.
fn route(filter: fn(u64) -> String) -> Box<dyn FnMut()> {
    let hub = hub();
    let mut subscribers: Vec<Client> = (0..100)
        .map(|n| {
            let mut client = Client::connect(&hub, &format!("s-{n}"), Version::V311);
            let filters: Vec<String> = (0..1000).map(|k| filter(n * 1000 + k)).collect();
            client.subscribe(&filters, QoS::AtMostOnce);
            client
        })
        .collect();
    let mut publisher = Client::connect(&hub, "p", Version::V311);
    let qos = QoS::AtMostOnce;
    let bytes: Vec<u8> = (0..TOPICS)
        .flat_map(|n| {
            let topic = topic(n * 7919 % 100_000);
            publish_bytes(Version::V311, &topic, qos, 0, Properties::EMPTY, PAYLOAD)
        })
        .collect();

    Box::new(move || {
        publisher.send(&bytes);
        for subscriber in &mut subscribers {
            subscriber.take();
        }
    })
}

fn subscribe() -> Box<dyn FnMut()> {
    let hub = hub();
    let mut client = Client::connect(&hub, "s", Version::V311);
    let unsubscribe = encode(
        &Packet::Unsubscribe(midge_codec::Unsubscribe {
            packet_id: 8,
            properties: Properties::EMPTY,
            filters: vec![TOPIC],
        }),
        Version::V311,
    );
    Box::new(move || {
        client.subscribe(&[TOPIC], QoS::AtMostOnce);
        client.send(&unsubscribe);
        assert!(client.take() > 0);
    })
}

fn connect() -> Box<dyn FnMut()> {
    let hub = hub();
    Box::new(move || {
        let mut client = Client::connect(&hub, "c", Version::V311);
        client.send(&[0xE0, 0]);
        client.closed();
    })
}

fn broker() -> Broker {
    Broker::builder()
        .start()
        .expect("a broker without listeners starts")
}

fn host(size: usize) -> Box<dyn FnMut()> {
    let broker = broker();
    let subscription = broker
        .subscribe_with(&["ward/#"], SubscribeOptions::default())
        .expect("a valid filter");
    let payload = bytes::Bytes::from(vec![b'x'; size]);
    Box::new(move || {
        for _ in 0..HOST {
            let _ = black_box(broker.publish(TOPIC, payload.clone()));
        }
        for _ in 0..HOST {
            assert!(black_box(subscription.try_recv()).is_some());
        }
    })
}

/// The publisher and the callback take turns: the queue is filled while the callback waits, and emptied
/// while the publisher does. How often threads find each other awake is left to chance otherwise, and
/// the same program takes 850 to 1,360 instructions.
fn host_callback() -> Box<dyn FnMut()> {
    let broker = broker();
    let meeting = Arc::new(Barrier::new(2));
    let mut taken = 0;
    let subscription = broker.subscribe("ward/#").expect("a valid filter");

    let theirs = meeting.clone();
    let callback = subscription
        .on_message(move |message| {
            black_box(message.payload());
            taken += 1;
            if taken == 1 {
                theirs.wait(); // It has the first one, and the queue is empty.
                theirs.wait(); // All others are in the queue.
            } else if taken == HOST {
                taken = 0;
                theirs.wait();
            }
        })
        .expect("a thread for the callback");
    let payload = bytes::Bytes::from(vec![b'x'; 64]);

    Box::new(move || {
        let _ = &callback;
        let publish = || {
            let _ = black_box(broker.publish(TOPIC, payload.clone()));
        };

        publish();
        meeting.wait();
        (1..HOST).for_each(|_| publish());
        meeting.wait();
        meeting.wait();
    })
}

fn host_nobody() -> Box<dyn FnMut()> {
    let broker = broker();
    let payload = bytes::Bytes::from(vec![b'x'; 64]);
    Box::new(move || {
        let _ = black_box(broker.publish(TOPIC, payload.clone()));
    })
}
