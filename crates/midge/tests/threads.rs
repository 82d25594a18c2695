//! The threads of a broker: connections stay with theirs, and a watchdog hears of each.

#![allow(clippy::unwrap_used)] // a test may fail

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use common::join;
use midge::{Broker, ClientInfo, HookSet, Hooks, MessageRef, Stop, Verdict};
use midge_testkit::{Client, Connect, Kind, Publish, Transport};

/// A 3.1.1 client that is connected over this stream.
fn client(stream: impl Transport + 'static, client_id: &str) -> Client {
    join(Client::over(stream), &Connect::new(4, client_id)).0
}

/// A PUBLISH at QoS 1.
fn publish() -> Vec<u8> {
    Publish::new("t", "x").qos(1, 1).bytes_for(4)
}

/// Asked on the thread of the connection at each PUBLISH of a client.
struct Asked<F>(F);

impl<F: Fn(&str) + Send + Sync + 'static> Hooks for Asked<F> {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, client: &ClientInfo, _: &MessageRef<'_>) -> Verdict {
        (self.0)(&client.client_id);
        Verdict::Allow
    }
}

#[test]
fn connections_are_spread_over_the_threads_and_stay_where_they_began() {
    const THREADS: usize = 3;

    let seen: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>> = Arc::default();
    let (started, stopped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (noted, starts, stops) = (seen.clone(), started.clone(), stopped.clone());
    let path = std::env::temp_dir().join(format!("midge-threads-{}", std::process::id()));
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", path.display()))
        .threads(THREADS)
        .on_thread(
            move || _ = starts.fetch_add(1, Ordering::Relaxed),
            move || _ = stops.fetch_add(1, Ordering::Relaxed),
        )
        .hooks(Asked(move |client_id: &str| {
            let here = std::thread::current().name().unwrap().to_owned();
            let mut noted = noted.lock().unwrap();
            noted.entry(client_id.to_owned()).or_default().insert(here);
        }))
        .start()
        .unwrap();
    let all = broker.subscribe("#").unwrap();
    let mut clients = Vec::new();
    for at in 0..12 {
        let id = format!("client {at}");
        clients.push(match at % 3 {
            0 => client(TcpStream::connect(broker.addr().unwrap()).unwrap(), &id),
            1 => client(UnixStream::connect(&path).unwrap(), &id),
            _ => client(UnixStream::from(broker.connect_fd().unwrap()), &id),
        });
    }

    for _ in 0..5 {
        for client in &mut clients {
            client.send(publish());
        }
        for client in &mut clients {
            client.expect_ack(Kind::Puback, 1);
            assert_eq!(all.recv().unwrap().topic(), "t");
        }
    }

    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), clients.len());
    assert!(seen.values().all(|threads| threads.len() == 1), "{seen:?}");

    let used: BTreeSet<&str> = seen.values().flatten().map(String::as_str).collect();
    assert_eq!(Vec::from_iter(used), ["midge-0", "midge-1", "midge-2"]);
    broker.stop(Stop::Now).unwrap();
    for client in &mut clients {
        client.expect_closed();
    }

    let counts = [&started, &stopped].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [THREADS; 2]);
}

#[test]
fn the_heartbeat_grows_while_the_broker_works() {
    let broker = Broker::builder().start().unwrap();
    let first = broker.heartbeat();
    while broker.heartbeat() < first + 3 {
        std::thread::yield_now();
    }
    broker.stop(Stop::Now).unwrap();
    assert_eq!(broker.heartbeat(), broker.heartbeat());
}

#[test]
fn the_heartbeat_stands_still_while_one_of_the_threads_does() {
    let (arrived, arrival) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let broker = Broker::builder()
        .threads(2)
        .hooks(Asked(move |client_id: &str| {
            if client_id == "s" {
                arrived.send(()).unwrap();
                let _ = gate.lock().unwrap().recv();
            }
        }))
        .start()
        .unwrap();
    let client = |id| common::client(&broker, id);
    let (mut stuck, mut others) = (client("s"), [client("a"), client("b"), client("c")]);
    stuck.send(publish());
    arrival.recv().unwrap();

    // The first question: the first beat needs both threads.
    let before = broker.heartbeat();
    for other in &mut others {
        other.send(publish());
    }

    assert_eq!(broker.heartbeat(), before);
    drop(go);
    while broker.heartbeat() == before {
        std::thread::yield_now();
    }

    for client in others.iter_mut().chain([&mut stuck]) {
        client.expect_ack(Kind::Puback, 1);
    }
}
