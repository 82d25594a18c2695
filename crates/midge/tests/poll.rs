//! A broker without threads: its host polls it.

#![allow(clippy::unwrap_used)] // a test may fail
#![cfg(unix)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use midge::{
    Broker, ClientInfo, Clock, Condition, HookSet, Hooks, MessageRef, PollError, QoS, RecvError,
    Stop, StopError, Verdict, WeakBroker,
};
use midge_testkit::{Connect, PollingHost, Publish};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
const LONG: Duration = Duration::from_secs(30);

fn start() -> Broker {
    Broker::builder().threads(0).start().unwrap()
}

/// Whether the descriptor says that there is something to do.
fn is_ready(broker: &Broker, timeout: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(
        broker.poll_fd().unwrap(),
        PollFlags::IN,
    )];
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut fds, Some(&timeout)).unwrap() == 1
}

/// Polls until there is nothing left to do.
fn run(broker: &Broker) {
    while broker.poll(Duration::ZERO).unwrap() {}
}

/// Waits for the descriptor and polls, until a client has this many bytes to read.
fn read(broker: &Broker, client: &mut UnixStream, bytes: usize) -> Vec<u8> {
    client.set_nonblocking(true).unwrap();
    let mut all = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        match client.read(&mut all[filled..]) {
            Ok(0) => panic!("the connection has ended"),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                assert!(is_ready(broker, LONG), "nothing to do, and no answer");
                broker.poll(Duration::ZERO).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    client.set_nonblocking(false).unwrap();
    all
}

fn connect(broker: &Broker) -> UnixStream {
    let mut client = UnixStream::from(broker.connect_fd().unwrap());
    client.write_all(CONNECT).unwrap();
    assert_eq!(read(broker, &mut client, 4), [0x20, 2, 0, 0]);
    client
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_started() {
    // In a process of its own: other tests have threads.
    if std::env::var_os("MIDGE_TEST_CHILD").is_none() {
        let me = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(me);
        child.args(["--exact", "no_thread_is_started", "--test-threads=1"]);
        let child = child.env("MIDGE_TEST_CHILD", "1").output().unwrap();
        assert!(child.status.success(), "{child:?}");
        return;
    }

    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    let path = std::env::temp_dir().join(format!("midge-poll-{}", std::process::id()));
    let broker = Broker::builder()
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", path.display()))
        .threads(0)
        .start()
        .unwrap();
    let (told, seen) = channel();
    let callback = broker.subscribe("t").unwrap();
    let callback = callback.on_message(move |message| {
        told.send(message.payload().to_vec()).unwrap();
    });
    let callback = callback.unwrap();

    let mut over_tcp = TcpStream::connect(broker.addr().unwrap()).unwrap();
    let mut over_unix = UnixStream::connect(&path).unwrap();
    for (client, id) in [
        (&mut over_tcp as &mut dyn Write, b't'),
        (&mut over_unix, b'u'),
    ] {
        let mut packets = CONNECT.to_vec();
        *packets.last_mut().unwrap() = id;
        packets.extend(b"\x30\x04\0\x01tx");
        client.write_all(&packets).unwrap();
    }
    for client in ["t", "u"] {
        broker.wait_for(Condition::Connected(client), LONG).unwrap();
    }
    while seen.try_recv().is_err() {
        broker.poll(LONG).unwrap();
    }
    assert_eq!(threads(), before);

    drop(callback);
    broker.stop(Stop::Drain(LONG)).unwrap();
    assert_eq!(threads(), before);
    assert!(!path.exists() && TcpStream::connect(broker.addr().unwrap()).is_err());
}

#[test]
fn the_descriptor_says_when_there_is_something_to_do() {
    let broker = start();
    run(&broker);
    assert!(!is_ready(&broker, Duration::ZERO));
    assert!(!broker.poll(Duration::ZERO).unwrap());

    let mut client = connect(&broker);
    run(&broker);
    assert!(!is_ready(&broker, Duration::ZERO));
    client.write_all(b"\xc0\0").unwrap();
    assert!(is_ready(&broker, LONG));
    assert_eq!(read(&broker, &mut client, 2), [0xd0, 0]);

    // What other threads do is written there, and rings where there is something left to do.
    run(&broker);
    client.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    assert_eq!(read(&broker, &mut client, 5), [0x90, 3, 0, 1, 0]);
    thread::scope(|scope| {
        scope.spawn(|| broker.publish("t", "x").unwrap());
    });
    assert_eq!(read(&broker, &mut client, 6), b"\x30\x04\0\x01tx");
}

#[test]
fn a_poll_that_waits_goes_on_when_another_thread_gives_it_something_to_do() {
    let broker = start();
    run(&broker);
    let waits = Barrier::new(2);
    thread::scope(|scope| {
        let connected = scope.spawn(|| {
            waits.wait();
            broker.connect_fd().unwrap()
        });
        waits.wait();
        // Without the wake-up it lasts as long as that.
        while !broker.poll(Duration::MAX).unwrap() {}
        drop(connected);
    });
}

#[test]
fn the_next_deadline_is_known_and_kept() {
    let broker = Broker::builder().threads(0);
    let broker = broker.set("limits.connect_timeout_ms", "1").unwrap();
    let broker = broker.start().unwrap();
    let mut client = UnixStream::from(broker.connect_fd().unwrap());
    run(&broker);

    // The client says nothing, so all that can happen is its end.
    client.set_nonblocking(true).unwrap();
    while client.read(&mut [0; 1]).is_err() {
        let timeout = broker.poll_timeout().unwrap().unwrap();
        let _ = is_ready(&broker, timeout);
        broker.poll(Duration::ZERO).unwrap();
    }
}

#[test]
fn a_slow_client_does_not_keep_it_busy_and_gets_everything() {
    const SIZE: usize = 1 << 20;
    let broker = start();
    let mut client = connect(&broker);
    client.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    assert_eq!(read(&broker, &mut client, 5), [0x90, 3, 0, 1, 0]);

    broker.publish("t", vec![7; SIZE]).unwrap();
    run(&broker);
    assert!(
        !is_ready(&broker, Duration::ZERO),
        "the client reads nothing"
    );
    let packet = Publish::new("t", vec![7; SIZE]).bytes_for(4);
    assert!(read(&broker, &mut client, packet.len()) == packet);
}

/// What a hook or a callback tries: each must be refused, and nothing may wait.
fn try_inside(broker: &Broker) -> [bool; 4] {
    let never = broker.subscribe("never").unwrap();
    let told = broker.message("kept").qos(QoS::AtLeastOnce).send().unwrap();
    [
        matches!(broker.poll(LONG), Err(PollError::Reentrant)),
        matches!(never.recv(), Err(RecvError::Timeout)),
        broker
            .wait_for(Condition::Connected("nobody"), LONG)
            .is_err(),
        told.wait_acknowledged(LONG),
    ]
}

/// Tries it as a hook.
struct Inside(WeakBroker, Arc<OnceLock<[bool; 4]>>);

impl Hooks for Inside {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_PUBLISH
    }

    fn authorize_publish(&self, _: &ClientInfo, _: &MessageRef<'_>) -> Verdict {
        let broker = self.0.upgrade().unwrap();
        let _ = self.1.set(try_inside(&broker));
        Verdict::Allow
    }
}

#[test]
fn inside_a_hook_or_a_callback_it_is_not_polled_and_nothing_waits() {
    let hooked = Arc::<OnceLock<_>>::default();
    let seen = hooked.clone();
    let builder = Broker::builder().threads(0);
    let builder = builder.hooks_with(|broker| Inside(broker, seen));
    let broker = builder.start().unwrap();

    let called = Arc::<OnceLock<_>>::default();
    let (seen, weak) = (called.clone(), broker.downgrade());
    let callback = broker.subscribe("t").unwrap().on_message(move |_| {
        let broker = weak.upgrade().unwrap();
        let tried = try_inside(&broker);
        let stopped = broker.stop(Stop::Drain(LONG)) == Err(StopError::OnBrokerThread);
        let _ = seen.set((tried, stopped));
    });
    let callback = callback.unwrap();

    // One message stays unacknowledged.
    let mut keeps = connect(&broker);
    keeps.write_all(b"\x82\x09\0\x01\0\x04kept\x01").unwrap();
    assert_eq!(read(&broker, &mut keeps, 5), [0x90, 3, 0, 1, 1]);
    keeps.write_all(b"\x30\x04\0\x01tx").unwrap();
    while called.get().is_none() {
        broker.poll(LONG).unwrap();
    }

    let refused = [true, true, true, false];
    assert_eq!(hooked.get(), Some(&refused));
    assert_eq!(called.get(), Some(&(refused, true)));
    drop(callback);
    broker.stop(Stop::Now).unwrap();
    assert!(matches!(broker.poll(LONG), Err(PollError::Stopped)));
}

#[test]
fn one_thread_at_a_time_polls_and_a_stop_by_another_one_waits_for_its_turn() {
    let broker = start();
    run(&broker);
    thread::scope(|scope| {
        let poller = scope.spawn(|| {
            loop {
                match broker.poll(Duration::MAX) {
                    Ok(_) => {}
                    Err(PollError::Busy) => thread::yield_now(),
                    Err(error) => return error,
                }
            }
        });

        // Until the other one is inside.
        while !matches!(broker.poll(Duration::ZERO), Err(PollError::Busy)) {
            thread::yield_now();
        }
        broker.stop(Stop::Drain(LONG)).unwrap();
        assert!(matches!(poller.join().unwrap(), PollError::Stopped));
    });
}

#[test]
fn what_waits_polls_meanwhile() {
    let broker = start();
    let mut client = UnixStream::from(broker.connect_fd().unwrap());
    client.write_all(CONNECT).unwrap();
    client
        .write_all(b"\x82\x06\0\x01\0\x01q\x01\x30\x04\0\x01tx")
        .unwrap();

    let all = broker.subscribe("t").unwrap();
    assert_eq!(all.recv().unwrap().payload(), b"x");
    let subscribed = Condition::Subscribers {
        topic: "q",
        clients: 1,
    };
    broker.wait_for(subscribed, LONG).unwrap();
    let receipt = broker.message("q").qos(QoS::AtLeastOnce).send().unwrap();
    assert!(!receipt.wait_acknowledged(Duration::ZERO));
    client.write_all(b"\x40\x02\0\x01").unwrap();
    assert!(receipt.wait_acknowledged(LONG));
    broker.settle(LONG).unwrap();

    // From another thread, too.
    thread::scope(|scope| {
        scope.spawn(|| broker.publish("t", "y").unwrap());
        assert_eq!(all.recv().unwrap().payload(), b"y");
    });
}

#[test]
fn two_brokers_of_one_thread_are_both_driven_while_it_waits() {
    let brokers = [start(), start()];
    for broker in &brokers {
        let mut client = UnixStream::from(broker.connect_fd().unwrap());
        client.write_all(CONNECT).unwrap();
        client.write_all(b"\x30\x04\0\x01tx").unwrap();
        let all = broker.subscribe("t").unwrap();
        assert_eq!(all.recv().unwrap().payload(), b"x");
    }
}

#[test]
fn only_a_broker_without_threads_is_polled() {
    for threads in [1, 2] {
        let broker = Broker::builder().threads(threads).start().unwrap();
        assert!(matches!(broker.poll(LONG), Err(PollError::HasThreads)));
        assert!(matches!(broker.poll_fd(), Err(PollError::HasThreads)));
        assert!(matches!(broker.poll_timeout(), Err(PollError::HasThreads)));
    }

    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let broker = start();
    runtime.block_on(async {
        assert!(matches!(broker.poll(LONG), Err(PollError::Reentrant)));
    });
}

#[test]
fn a_manual_clock_moves_it_on() {
    let broker = Broker::builder().threads(0).clock(Clock::Manual);
    let broker = broker.start().unwrap();
    let client = connect(&broker);
    let mut silent = common::open(&broker);
    broker.clock().advance(Duration::from_secs(3600));
    run(&broker);
    silent.expect_closed();

    drop(silent);
    run(&broker);
    assert_eq!(broker.connections(), 1);
    drop(client);
}

#[test]
fn a_broker_that_is_dropped_ends_and_leaves_nothing() {
    let broker = start();
    let mut client = connect(&broker);
    drop(broker);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);

    // In a callback of its own.
    let broker = start();
    let mut client = connect(&broker);
    let (weak, place) = (broker.downgrade(), Arc::new(Mutex::new(None)));
    let last = place.clone();
    let callback = broker.subscribe("t").unwrap().on_message(move |_| {
        drop(last.lock().unwrap().take());
    });
    let callback = callback.unwrap();
    client.write_all(b"\x30\x04\0\x01tx").unwrap();
    *place.lock().unwrap() = Some(broker.clone());
    while place.lock().unwrap().is_some() {
        broker.poll(LONG).unwrap();
    }
    drop((callback, broker));
    assert!(weak.upgrade().is_none());
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn an_asynchronous_stop_is_done_by_the_host_that_polls() {
    let broker = start();
    let host = PollingHost::start(&broker).unwrap();
    let mut client = common::client(&broker, "c");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(broker.stop_async(Stop::Now)).unwrap();
    client.expect_closed();
    drop(host);
}

#[test]
fn a_crowd_that_comes_and_goes_is_served_by_the_descriptor_alone() {
    const CLIENTS: usize = 100;
    let broker = Broker::builder().listen("tcp://127.0.0.1:0").threads(0);
    let broker = broker.start().unwrap();
    let host = PollingHost::start(&broker).unwrap();
    let address = broker.addr().unwrap();

    thread::scope(|scope| {
        for at in 0..4 {
            scope.spawn(move || {
                for round in 0..CLIENTS / 4 {
                    let connect = Connect::new(4, format!("c{at}-{round}"));
                    let (mut client, _) = midge_testkit::Client::connect(address, &connect);
                    client.subscribe("t", 1);
                    client.send(Publish::new("t", "x").qos(1, 7).bytes_for(4));
                    client.expect_message("t", "x");
                }
            });
        }
    });
    let end = Instant::now() + LONG;
    while broker.connections() > 0 && Instant::now() < end {
        thread::yield_now();
    }
    assert_eq!((broker.connections(), broker.stats().panics), (0, 0));
    drop(host);
}
