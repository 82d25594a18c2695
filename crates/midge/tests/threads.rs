//! The threads of a broker: connections stay with theirs, and a watchdog hears of each.

#![allow(clippy::unwrap_used)] // a test may fail

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use midge::{Broker, ClientInfo, HookSet, Hooks, MessageRef, Stop, Verdict};

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Connects as a 3.1.1 client with a client identifier of one letter.
fn client<T: Stream + 'static>(mut stream: T, id: u8) -> Box<dyn Stream> {
    let connect = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, id];
    stream.write_all(&connect).unwrap();
    expect(&mut stream, &[0x20, 2, 0, 0]);
    Box::new(stream)
}

fn expect(stream: &mut (impl Read + ?Sized), answer: &[u8]) {
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, answer);
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

const PUBLISH: &[u8] = b"\x32\x06\0\x01t\0\x01x";
const PUBACK: &[u8] = &[0x40, 2, 0, 1];

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
    for (at, id) in (b'a'..=b'l').enumerate() {
        clients.push(match at % 3 {
            0 => client(TcpStream::connect(broker.addr().unwrap()).unwrap(), id),
            1 => client(UnixStream::connect(&path).unwrap(), id),
            _ => client(UnixStream::from(broker.connect_fd().unwrap()), id),
        });
    }

    for _ in 0..5 {
        for client in &mut clients {
            client.write_all(PUBLISH).unwrap();
        }
        for client in &mut clients {
            expect(client, PUBACK);
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
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
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
    let pair = |id| client(UnixStream::from(broker.connect_fd().unwrap()), id);
    let (mut stuck, mut others) = (pair(b's'), [pair(b'a'), pair(b'b'), pair(b'c')]);
    stuck.write_all(PUBLISH).unwrap();
    arrival.recv().unwrap();

    // Nobody has asked before: the first beat needs both threads.
    let before = broker.heartbeat();
    for other in &mut others {
        other.write_all(PUBLISH).unwrap();
    }

    assert_eq!(broker.heartbeat(), before);
    drop(go);
    while broker.heartbeat() == before {
        std::thread::yield_now();
    }

    for client in others.iter_mut().chain([&mut stuck]) {
        expect(client, PUBACK);
    }
}
