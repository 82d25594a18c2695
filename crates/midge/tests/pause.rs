//! A process that was paused: much is due at once, and what others have said meanwhile lies unread.

#![allow(clippy::unwrap_used)] // a test may fail

use std::sync::Mutex;
use std::time::Duration;

use midge::{Broker, ConnectRequest, Deferred, HookSet, Hooks, Resolver, Stats, Verdict};
use midge_testkit::{Client, Connack, Connect};
use tokio::runtime::Runtime;
use tokio::time::advance;

/// A runtime whose clock only moves when a test moves it, or when there is nothing else to do.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

fn start(runtime: &Runtime, hooks: impl Hooks) -> Broker {
    let builder = Broker::builder().hooks(hooks).listen("tcp://127.0.0.1:0");
    builder.runtime(runtime.handle().clone()).start().unwrap()
}

async fn until(broker: &Broker, done: impl Fn(&Stats) -> bool) {
    while !done(&broker.stats()) {
        tokio::task::yield_now().await;
    }
}

/// A connection of 5.0 that asks for its session, which outlives it by 10 seconds.
fn connect(broker: &Broker) -> Client {
    let mut client = Client::open(broker.addr().unwrap());
    client.send(Connect::v5("c").clean(false).expiry(10).bytes());
    client
}

/// Whether CONNACK says success, and that the session was there.
fn connack(client: &mut Client) -> (u8, bool) {
    let Connack {
        code,
        session_present,
        ..
    } = client.expect_connack();
    (code, session_present)
}

struct None;

impl Hooks for None {
    fn set(&self) -> HookSet {
        HookSet::NONE
    }
}

#[test]
fn a_client_back_during_a_pause_finds_its_session() {
    let runtime = runtime();
    let broker = start(&runtime, None);
    let mut client = connect(&broker);
    runtime.block_on(until(&broker, |stats| stats.clients == 1));
    assert_eq!(connack(&mut client), (0, false));
    drop(client);
    runtime.block_on(until(&broker, |stats| stats.clients == 0));

    // Nothing runs: the connection is not even accepted.
    let mut client = connect(&broker);
    runtime.block_on(async {
        advance(Duration::from_secs(60)).await;
        until(&broker, |stats| stats.clients == 1).await;
    });
    assert_eq!(connack(&mut client), (0, true));
    assert_eq!(broker.stats().sessions_expired, 0);
}

/// Leaves the answer to the test.
#[derive(Default)]
struct Later(Mutex<Option<Resolver>>);

impl Hooks for &'static Later {
    fn set(&self) -> HookSet {
        HookSet::AUTHENTICATE
    }

    fn authenticate(&self, _: &ConnectRequest) -> Verdict {
        let (resolver, deferred) = Deferred::new();
        *self.0.lock().unwrap() = Some(resolver);
        Verdict::Defer(deferred)
    }
}

#[test]
fn an_answer_that_comes_right_after_a_pause_is_in_time() {
    let runtime = runtime();
    let hooks: &'static Later = Box::leak(Box::default());
    let broker = start(&runtime, hooks);
    let mut client = connect(&broker);
    let resolver = runtime.block_on(async {
        loop {
            if let Some(resolver) = hooks.0.lock().unwrap().take() {
                return resolver;
            }
            tokio::task::yield_now().await;
        }
    });

    runtime.block_on(async {
        advance(Duration::from_secs(8)).await;
        // The thread that answers was paused, too.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(resolver.is_open());
        resolver.allow();
        until(&broker, |stats| stats.clients == 1).await;
    });

    assert_eq!(connack(&mut client), (0, false));
}

#[test]
fn a_client_that_does_not_answer_after_a_pause_either_is_too_late() {
    let runtime = runtime();
    let hooks: &'static Later = Box::leak(Box::default());
    let broker = start(&runtime, hooks);
    let _client = connect(&broker);
    runtime.block_on(async {
        while hooks.0.lock().unwrap().is_none() {
            tokio::task::yield_now().await;
        }
        advance(Duration::from_secs(8)).await;
        // The clock goes on when nothing is left to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        until(&broker, |stats| stats.refused == 1).await;
    });
    assert_eq!(broker.stats().clients, 0);
}
