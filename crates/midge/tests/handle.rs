//! The handle: start, stop, inject, observe, hooks, without a client of any kind but a few bytes.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{join, subscriber};
use midge::{
    Broker, ClientInfo, Clock, DeliveryVerdict, DropReason, Event, EventMask, HookSet, Hooks,
    Interception, MessageRef, Origin, Outcome, OwnedMessage, PublishError, QoS, QueueOverflow,
    ReasonCode, RecvError, Refusal, StartError, Stop, StopError, SubscribeOptions, Verdict,
};
use midge_testkit::{Client, Connect, Packet, Publish};

const WAIT: Duration = Duration::from_secs(10);

fn quiet() -> Broker {
    Broker::builder().start().unwrap()
}

#[test]
fn a_receipt_says_what_became_of_a_message_and_can_be_waited_on() {
    let broker = quiet();
    assert_eq!(broker.publish("t", "nobody").unwrap().matched(), 0);

    let mut client = subscriber(&broker, "c", 1);
    let receipt = broker
        .message("t")
        .payload("!")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();
    assert_eq!(receipt.outcomes(), [("c".into(), Outcome::Sent)]);
    assert!(!receipt.is_acknowledged() && !receipt.wait_acknowledged(Duration::ZERO));
    let message = client.expect_message("t", "!");
    assert_eq!(message.qos, 1);
    client.acknowledge(&message);
    assert!(receipt.wait_acknowledged(WAIT));
    broker.settle(WAIT).unwrap();

    let direct = broker
        .message("elsewhere")
        .payload("x")
        .send_to("c")
        .unwrap();
    assert_eq!(direct.outcomes(), [("c".into(), Outcome::Sent)]);
    client.expect_message("elsewhere", "x");
    assert!(broker.message("t").send_to("nobody").is_err());
}

#[test]
fn the_host_subscribes_with_bounded_queues() {
    let broker = quiet();
    broker.set_retained("a/kept", "r").unwrap();

    let options = SubscribeOptions::default().capacity(2);
    let oldest = broker.subscribe_with(&["a/#"], options).unwrap();
    let newest = options.overflow(QueueOverflow::DropNewest);
    let newest = broker.subscribe_with(&["a/#", "b"], newest).unwrap();
    assert!(newest.try_recv().unwrap().retain() && oldest.try_recv().unwrap().retain());
    for n in 0..4 {
        broker.publish("a/x", n.to_string()).unwrap();
    }

    let texts = |subscription: &midge::Subscription| -> Vec<String> {
        let mut all = Vec::new();
        subscription.drain_into(&mut all, 10).unwrap();
        all.iter()
            .map(|m| String::from_utf8_lossy(m.payload()).into_owned())
            .collect()
    };

    assert_eq!((oldest.lost(), newest.lost()), (2, 2));
    assert_eq!(
        (texts(&oldest), texts(&newest)),
        (vec!["2".into(), "3".into()], vec!["0".into(), "1".into()])
    );
    assert_eq!(broker.stats().dropped_by(DropReason::ObserverFull), 4);
    drop(oldest);
    assert_eq!(broker.publish("a/x", "").unwrap().matched(), 1);
    broker.stop(Stop::Now).unwrap();
    newest.try_recv().unwrap();
    assert_eq!(newest.recv().unwrap_err(), RecvError::Closed);
}

#[test]
fn callbacks_may_publish_and_never_run_after_their_end() {
    let broker = quiet();
    let answers = broker.subscribe("answer").unwrap();
    let handle = broker.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let callback = broker
        .subscribe("question")
        .unwrap()
        .on_message(move |message| {
            counted.fetch_add(1, Ordering::SeqCst);
            handle.publish("answer", message.payload_bytes()).unwrap();
        })
        .unwrap();
    broker.publish("question", "?").unwrap();
    assert_eq!(answers.recv_timeout(WAIT).unwrap().payload(), b"?");
    drop(callback);
    broker.publish("question", "!").unwrap();

    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn mistakes_of_the_host_are_errors_and_nothing_happens() {
    let broker = Broker::builder()
        .set("limits.packet_bytes", "1000")
        .unwrap()
        .start()
        .unwrap();
    let all = broker.subscribe("#").unwrap();
    for topic in ["", "a/+", "#", "a\0b"] {
        assert!(
            matches!(
                broker.publish(topic, "x"),
                Err(PublishError::InvalidTopic(_))
            ),
            "{topic}"
        );
    }

    let long = "x".repeat(65_536);
    assert!(broker.publish(&long, "x").is_err());
    assert_eq!(
        broker.publish("t", vec![0; 1001]).unwrap_err(),
        PublishError::TooLarge
    );

    let bad = broker.message("t").response_topic("a/#").send();
    assert!(matches!(bad, Err(PublishError::InvalidProperty(_))));
    assert!(matches!(
        broker.message("t").user_property("a\0", "b").send(),
        Err(PublishError::InvalidProperty(_))
    ));
    assert!(broker.subscribe("a/#/b").is_err() && broker.subscribe("").is_err());
    assert!(all.try_recv().is_none());
    broker.stop(Stop::Now).unwrap();
    assert_eq!(broker.publish("t", "x").unwrap_err(), PublishError::Stopped);
    assert!(broker.connect_fd().is_err() && broker.connect_in_memory().is_err());
}

#[test]
fn listeners_are_bound_or_named_in_the_error() {
    let path = std::env::temp_dir().join(format!("midge-handle-{}.sock", std::process::id()));
    let unix = format!("unix://{}", path.display());
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .listen("tcp://127.0.0.1:0")
        .listen(&unix)
        .start()
        .unwrap();
    assert_eq!(broker.addrs().len(), 3);
    assert_eq!(broker.url(), format!("mqtt://127.0.0.1:{}", broker.port()));
    let stream = UnixStream::connect(&path).unwrap();
    let _client = join(Client::over(stream), &Connect::new(4, "u"));

    let busy = Broker::builder()
        .listen(format!("tcp://127.0.0.1:{}", broker.port()))
        .start();

    assert!(
        matches!(busy, Err(StartError::Bind { source, .. }) if source.kind() == std::io::ErrorKind::AddrInUse)
    );
    assert!(matches!(
        Broker::builder().listen(&unix).start(),
        Err(StartError::Bind { .. })
    ));
    for wrong in [
        "127.0.0.1:1",
        "tcp://nothing",
        "ftp://127.0.0.1:1",
        "unix://",
    ] {
        assert!(
            matches!(
                Broker::builder().listen(wrong).start(),
                Err(StartError::Address { .. })
            ),
            "{wrong}"
        );
    }

    let address = broker.addr().unwrap();
    drop(broker);
    assert!(TcpStream::connect(address).is_err() && !path.exists());
}

#[test]
fn many_brokers_come_and_go_without_a_trace() {
    let count = |what: &str| {
        std::fs::read_dir(format!("/proc/self/{what}"))
            .unwrap()
            .count()
    };

    let life = || {
        let broker = Broker::builder()
            .listen("tcp://127.0.0.1:0")
            .start()
            .unwrap();
        let client = Client::open(broker.addr().unwrap());
        let _client = join(client, &Connect::new(4, "c"));
        broker.stop(Stop::Now).unwrap();
    };

    // Other tests of this process come and go, too: a child of its own counts.
    if std::env::var_os("MIDGE_COUNT").is_none() {
        let exe = std::env::current_exe().unwrap();
        let status = std::process::Command::new(exe)
            .args([
                "--exact",
                "many_brokers_come_and_go_without_a_trace",
                "--test-threads",
                "1",
            ])
            .env("MIDGE_COUNT", "300")
            .status();
        assert!(status.unwrap().success());
        return;
    }

    let rounds: usize = std::env::var("MIDGE_COUNT").unwrap().parse().unwrap();
    let resident = || -> usize {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        status
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 4096
    };

    for _ in 0..50 {
        life();
    }

    let before = (count("fd"), count("task"));
    let memory = resident();
    for _ in 0..rounds {
        life();
    }

    assert_eq!((count("fd"), count("task")), before);
    assert!(
        resident() < memory + (2 << 20),
        "{} bytes more",
        resident() - memory
    );
}

#[test]
fn draining_waits_for_acknowledgements() {
    let broker = quiet();
    let mut client = subscriber(&broker, "c", 1);
    broker
        .message("t")
        .payload("!")
        .qos(QoS::AtLeastOnce)
        .send()
        .unwrap();

    let handle = broker.clone();
    let stopping = std::thread::spawn(move || handle.stop(Stop::Drain(WAIT)));
    let message = client.expect_message("t", "!");
    while !broker.is_stopped() {
        std::thread::yield_now();
    }

    assert_eq!(broker.clients().len(), 1);
    client.acknowledge(&message);
    stopping.join().unwrap().unwrap();
    client.expect_closed();
}

#[test]
fn what_is_published_again_is_the_hosts() {
    let broker = quiet();
    let received = broker.subscribe("t").unwrap();
    let mut client = subscriber(&broker, "c", 1);
    client.publish("t", "x", 0);

    let of_client = received.recv_timeout(WAIT).unwrap();
    assert_eq!(of_client.origin(), &Origin::Client("c".into()));
    drop(client);
    while !broker.clients().is_empty() {
        std::thread::yield_now();
    }

    for _ in 0..3 {
        broker.publish_prepared(of_client.kept()).unwrap();
        let again = received.recv_timeout(WAIT).unwrap();
        assert_eq!(
            (again.origin(), again.payload()),
            (&Origin::Host, &b"x"[..])
        );
    }

    let made = OwnedMessage::new("t", "y").prepare().unwrap();
    for _ in 0..3 {
        broker.publish_prepared(&made).unwrap();
    }

    assert!((0..3).all(|_| received.recv_timeout(WAIT).unwrap().payload() == b"y"));
}

#[test]
fn a_drain_can_be_cut_short() {
    let broker = quiet();
    let mut client = subscriber(&broker, "c", 1);
    let message = broker.message("t").payload("!").qos(QoS::AtLeastOnce);
    message.send().unwrap();
    client.expect_message("t", "!");
    let handle = broker.clone();
    // Longer than the time limit of any test.
    let day = Duration::from_secs(86_400);
    let draining = std::thread::spawn(move || handle.stop(Stop::Drain(day)));
    while !broker.is_stopped() {
        std::thread::yield_now();
    }
    broker.stop(Stop::Now).unwrap();
    draining.join().unwrap().unwrap();
    client.expect_closed();
}

#[test]
fn the_callers_runtime_can_be_used() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .runtime(runtime.handle().clone())
        .start()
        .unwrap();
    let client = Client::open(broker.addr().unwrap());
    let (mut client, _) = join(client, &Connect::new(4, "c"));
    runtime.block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut memory = broker.connect_in_memory().unwrap();
        let connect = Connect::new(4, "m").bytes();
        memory.write_all(&connect).await.unwrap();
        let mut connack = [0; 4];
        memory.read_exact(&mut connack).await.unwrap();
        let seen = broker.subscribe("t").unwrap();
        let (message, _) = tokio::join!(seen.recv_async(), async { broker.publish("t", "x") });
        assert_eq!(message.unwrap().topic(), "t");
        broker.stop_async(Stop::Now).await.unwrap();
    });

    client.expect_closed();
}

/// Hooks made of closures.
#[allow(clippy::type_complexity)] // written out once
struct Rules {
    set: HookSet,
    publish: Box<dyn Fn(&ClientInfo, &MessageRef<'_>) -> Verdict + Send + Sync>,
    intercept: Box<dyn Fn(&Origin, &MessageRef<'_>) -> Interception + Send + Sync>,
    deliver: Box<dyn Fn(&str) -> DeliveryVerdict + Send + Sync>,
}

impl Rules {
    fn new(set: HookSet) -> Self {
        Self {
            set,
            publish: Box::new(|_, _| Verdict::Allow),
            intercept: Box::new(|_, _| Interception::Forward),
            deliver: Box::new(|_| DeliveryVerdict::Deliver),
        }
    }
}

impl Hooks for Rules {
    fn set(&self) -> HookSet {
        self.set
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        (self.publish)(client, message)
    }

    fn intercept_publish(&self, origin: &Origin, message: &MessageRef<'_>) -> Interception {
        (self.intercept)(origin, message)
    }

    fn intercept_delivery(
        &self,
        client_id: &str,
        _: &midge::KeptMessage,
        _: QoS,
    ) -> DeliveryVerdict {
        (self.deliver)(client_id)
    }
}

#[test]
fn interception_changes_redirects_drops_and_refuses() {
    let mut rules = Rules::new(HookSet::INTERCEPT_PUBLISH);
    rules.intercept = Box::new(|_, message| match message.topic {
        "change" => Interception::Replace(Box::new(OwnedMessage::new("changed/to", "other"))),
        "drop" => Interception::Drop,
        "refuse" => Interception::Refuse(Refusal::new(ReasonCode::QuotaExceeded)),
        "broken" => Interception::Replace(Box::new(OwnedMessage::new("a/+", "x"))),
        _ => Interception::Forward,
    });

    let broker = Broker::builder().hooks(rules).start().unwrap();
    let all = broker.subscribe("#").unwrap();
    broker.publish("change", "x").unwrap();
    broker.publish("drop", "x").unwrap();
    assert!(
        matches!(broker.publish("refuse", "x"), Err(PublishError::Refused(r)) if r.reason == ReasonCode::QuotaExceeded)
    );
    assert!(broker.publish("broken", "x").is_err());
    broker.publish("plain", "x").unwrap();

    let topics: Vec<_> = std::iter::from_fn(|| all.try_recv())
        .map(|m| m.topic().to_owned())
        .collect();
    assert_eq!(topics, ["changed/to", "plain"]);
    assert_eq!(broker.stats().dropped_by(DropReason::RefusedByHook), 2);
}

#[test]
fn delivery_differs_by_receiver() {
    let mut rules = Rules::new(HookSet::INTERCEPT_DELIVERY);
    rules.deliver = Box::new(|client_id| match client_id {
        "a" => DeliveryVerdict::Replace(Box::new(OwnedMessage::new("t", "for a"))),
        "b" => DeliveryVerdict::Drop,
        _ => DeliveryVerdict::Deliver,
    });

    let broker = Broker::builder().hooks(rules).start().unwrap();
    let (mut a, _b, mut c) = (
        subscriber(&broker, "a", 1),
        subscriber(&broker, "b", 1),
        subscriber(&broker, "c", 1),
    );
    let receipt = broker.publish("t", "x").unwrap();
    assert_eq!(
        receipt.dropped().collect::<Vec<_>>(),
        [("b", DropReason::RefusedByHook)]
    );
    a.expect_message("t", "for a");
    c.expect_message("t", "x");
}

#[test]
fn a_deferred_answer_holds_back_its_client_only_and_fails_closed() {
    let (send, asked) = mpsc::channel();
    let send = Mutex::new(send);
    let mut rules = Rules::new(HookSet::AUTHORIZE_PUBLISH);
    rules.publish = Box::new(move |client, _| {
        if &*client.client_id != "s" {
            return Verdict::Allow;
        }
        let (resolver, verdict) = Verdict::defer();
        send.lock().unwrap().send(resolver).unwrap();
        verdict
    });

    let broker = Broker::builder()
        .clock(Clock::Manual)
        .hooks(rules)
        .start()
        .unwrap();
    let mut slow = subscriber(&broker, "s", 1);
    let mut quick = subscriber(&broker, "q", 1);

    // Two messages and a PINGREQ at once: the second waits until the first is decided.
    let publish = |text, id| Publish::new("t", text).qos(1, id).bytes_for(4);
    slow.send([publish("1", 7), publish("2", 8), vec![0xc0, 0]].concat());

    let first = asked.recv_timeout(WAIT).unwrap();
    quick.expect_nothing();
    assert!(asked.try_recv().is_err());
    first.allow();
    assert_eq!(quick.expect_message("t", "1").qos, 1);

    let second = asked.recv_timeout(WAIT).unwrap();

    // The time limit begins when the hook has returned, which may be a moment from now.
    while broker.stats().dropped_by(DropReason::NotAuthorized) == 0 {
        broker.clock().advance(Duration::from_secs(5));
    }

    // Its own message and the first acknowledgement, in whichever order, and then:
    let rest: Vec<Packet> = (0..4).map(|_| slow.recv()).collect();
    let last = &rest[2..];
    assert!(
        matches!(last, [Packet::Ack(ack), Packet::Pingresp] if ack.id == 8),
        "{rest:?}"
    );
    second.allow(); // too late
    quick.expect_nothing();
    assert_eq!(broker.stats().dropped_by(DropReason::NotAuthorized), 1);
}

#[test]
fn hooks_may_publish_but_not_without_end() {
    let slot: Arc<Mutex<Option<Broker>>> = Arc::default();
    let inner = slot.clone();
    let deepest = Arc::new(AtomicUsize::new(0));
    let calls = deepest.clone();
    let mut rules = Rules::new(HookSet::INTERCEPT_PUBLISH);
    rules.intercept = Box::new(move |_, _| {
        calls.fetch_add(1, Ordering::SeqCst);
        let broker = inner.lock().unwrap().clone();
        if let Some(broker) = broker {
            let _ = broker.publish("again", "x");
            assert_eq!(broker.stop(Stop::Now), Err(StopError::OnBrokerThread));
        }
        Interception::Forward
    });

    let broker = Broker::builder()
        .set("sys.interval_s", "0")
        .unwrap()
        .hooks(rules)
        .start()
        .unwrap();
    *slot.lock().unwrap() = Some(broker.clone());

    let _ = broker.publish("t", "x");
    assert!((1..=8).contains(&deepest.load(Ordering::SeqCst)));
    *slot.lock().unwrap() = None;
}

#[test]
fn a_panic_in_a_hook_ends_one_connection() {
    let mut rules = Rules::new(HookSet::AUTHORIZE_PUBLISH);
    rules.publish = Box::new(|client, _| {
        assert!(&*client.client_id != "p", "a panic on purpose");
        Verdict::Allow
    });
    let broker = Broker::builder().hooks(rules).start().unwrap();
    let mut other = subscriber(&broker, "o", 1);
    let mut panics = subscriber(&broker, "p", 1);
    panics.send(Publish::new("t", "x").bytes_for(4));
    panics.expect_closed();
    other.publish("t", "y", 0);
    other.expect_message("t", "y");
    assert_eq!(broker.stats().panics, 1);
}

#[test]
fn events_come_in_order() {
    let broker = quiet();
    let events = broker.events_with(EventMask::ALL, 100);
    subscriber(&broker, "c", 1).disconnect();
    let mut names = Vec::new();
    while names.len() < 4 {
        names.push(match events.recv_timeout(WAIT).unwrap().event {
            Event::ClientConnected { .. } => "connected",
            Event::Subscribed { .. } => "subscribed",
            Event::ClientDisconnected { .. } => "disconnected",
            Event::SessionEnded { .. } => "ended",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(names, ["connected", "subscribed", "disconnected", "ended"]);
}

#[test]
fn publishing_from_many_threads_loses_nothing() {
    let broker = quiet();
    let options = SubscribeOptions::default().capacity(100_000);
    let all = broker.subscribe_with(&["n/#"], options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let broker = &broker;
            scope.spawn(move || {
                for n in 0..1000 {
                    broker
                        .publish(format!("n/{thread}"), n.to_string())
                        .unwrap();
                }
            });
        }
    });

    let mut next = [0; 8];
    for message in std::iter::from_fn(|| all.try_recv()) {
        let thread: usize = message.topic()[2..].parse().unwrap();
        assert_eq!(message.payload(), next[thread].to_string().as_bytes());
        next[thread] += 1;
    }

    assert_eq!(next, [1000; 8]);
}

#[test]
fn a_stop_that_is_not_waited_for_says_when_tasks_have_ended() {
    for how in [Stop::Now, Stop::Drain(Duration::from_secs(60))] {
        let broker = Broker::builder().start().unwrap();
        let (ended, is_ended) = mpsc::channel();
        broker.stop_soon(how, move || ended.send(()).unwrap());
        is_ended.recv().unwrap();
        assert!(broker.is_stopped());
        assert_eq!(broker.stop(Stop::Now), Ok(()));
    }
}
