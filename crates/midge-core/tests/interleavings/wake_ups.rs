//! Every wake-up that is owed is paid.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use midge_codec::QoS;
use midge_core::{HookSet, Hooks, Interception, MessageRef, Origin, Pushed, Received, Sink};
use midge_testkit::Connect;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::explore::explore;
use crate::world::{Client, START, audit_with_panics, hub, publish};

/// Panics at some messages, without the noise of a panic.
struct Panics;

impl Hooks for Panics {
    fn set(&self) -> HookSet {
        HookSet::INTERCEPT_PUBLISH
    }

    fn intercept_publish(&self, _: &Origin, message: &MessageRef<'_>) -> Interception {
        if message.payload == b"panic" {
            resume_unwind(Box::new(AssertUnwindSafe("hook")));
        }
        Interception::Forward
    }
}

/// A reader that looks only when it is woken.
#[derive(Default)]
struct Reader(Mutex<(usize, usize)>);

impl Sink for Reader {
    fn push(&self, _: Received) -> Pushed {
        self.0.lock().unwrap().0 += 1;
        Pushed {
            lost: 0,
            awaited: true,
        }
    }

    fn wake(&self) {
        let mut state = self.0.lock().unwrap();
        state.1 = state.0;
    }

    fn close(&self) {}
}

/// A read that a hook's panic ends owes a host subscription its wake-up.
#[test]
fn a_host_subscription_is_woken_after_a_panic() {
    explore(|| {
        let hub = hub(|_| (), Some(Arc::new(Panics)));
        let reader = Arc::new(Reader::default());
        let handle = hub
            .observe_messages(&["t"], QoS::AtMostOnce, false, reader.clone(), START)
            .unwrap();
        let [mut one, mut other] =
            ["one", "other"].map(|id| Client::connect(&hub, &Connect::v5(id)));

        let publishes = thread::spawn(move || {
            let read = [publish("t", 1), publish("t", "panic")].map(|packet| packet.bytes());
            one.say(&read.concat());
            one
        });
        other.say(&publish("t", 2).bytes());
        let one = publishes.join().unwrap();

        let (pushed, seen) = *reader.0.lock().unwrap();
        assert_eq!((pushed, seen), (2, 2), "pushed, and seen");
        drop(handle);
        audit_with_panics(hub, vec![one, other], 1);
    });
}
