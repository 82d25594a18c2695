//! The end of a broker: asked for, or because its last handle is gone.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::listeners::Listeners;
use super::workers::Background;
use super::{Engine, HostLoop};
use crate::clock::Mover;
use crate::error::StopError;

/// What all handles of a broker share; the last one stops it.
pub(crate) struct BrokerState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) background: Option<Background>,
    pub(crate) listeners: Listeners,
    pub(crate) mover: Mover,
    pub(crate) stopped: Mutex<Stopped>,
}

/// How a broker stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// At once. Clients get DISCONNECT (5.0) and what was on its way to them.
    Now,
    /// New connections are refused at once; connected clients get up to this long to take and
    /// acknowledge what waits for them.
    Drain(Duration),
}

impl Stop {
    pub(crate) fn drain(self) -> Option<Duration> {
        match self {
            Self::Now => None,
            Self::Drain(time) => Some(time),
        }
    }
}

/// Longest wait for tasks that no hook blocks: they only need a thread that runs them.
const ENDING: Duration = Duration::from_secs(10);

impl BrokerState {
    pub(crate) fn stop_soon(&self, how: Stop, then: impl FnOnce() + Send + 'static) {
        if how == Stop::Now {
            self.engine.hurry();
        }
        let end = self.background.as_ref().map(Background::end_token);
        drop(self.engine.end_soon(how.drain(), move || {
            // Whatever becomes of `then`, the threads end.
            let _end = end.map(CancellationToken::drop_guard);
            then();
        }));
    }

    pub(crate) fn stop(&self, how: Stop) -> Result<(), StopError> {
        if how == Stop::Now {
            self.engine.hurry();
        }
        let own = match &self.background {
            Some(background) => background.is_own_thread(),
            None => tokio::runtime::Handle::try_current().is_ok(),
        };
        let host = self.engine.workers.host();
        if own || midge_core::is_in_hook() {
            let end = self.background.as_ref().map(|background| {
                let end = background.end_token();
                move || end.cancel()
            });
            drop(self.engine.end_soon(how.drain(), move || {
                end.into_iter().for_each(|end| end());
            }));
            return Err(StopError::OnBrokerThread);
        }

        let mut stopped = self.stopped.lock();
        if !stopped.ended {
            let (done, wait) = mpsc::sync_channel::<()>(1);
            drop(self.engine.end_soon(how.drain(), move || drop(done)));

            let patience = self.patience(stopped.left_hooks);
            let limit = how.drain().unwrap_or_default().checked_add(patience);
            let mut ended = has_ended(host, &wait, limit);
            if !ended && !self.engine.context.hub.is_in_hooks() {
                ended = has_ended(host, &wait, Some(ENDING));
            }

            if !ended {
                if !std::mem::replace(&mut stopped.left_hooks, true) {
                    self.report_abandoned_hooks();
                }
                return Err(StopError::Unfinished);
            }
            stopped.ended = true;
        }

        if let Some(host) = host {
            // Callbacks get what was on its way to them.
            while host.turn(Some(Instant::now())).unwrap_or(false) {}
            host.end();
        }
        let Some(background) = &self.background else {
            return Ok(());
        };
        background.end();
        if background.join(self.patience(stopped.left_threads), ENDING) {
            return Ok(());
        }
        if !std::mem::replace(&mut stopped.left_threads, true) {
            self.engine.context.hub.count_abandoned(1);
            tracing::warn!("a broker thread does not end: what is run at its end does not return");
        }
        Err(StopError::Unfinished)
    }

    /// How long code of the host is waited for. Once it was abandoned it is not waited for again.
    fn patience(&self, was_left: bool) -> Duration {
        if was_left {
            return Duration::ZERO;
        }
        Duration::from_millis(self.engine.context.hub.config().shutdown.patience_ms)
    }

    /// Names and counts the hooks that block the end of the broker.
    fn report_abandoned_hooks(&self) {
        let hub = &self.engine.context.hub;
        let running = hub.running_hooks();
        hub.count_abandoned(running.iter().map(|(_, calls)| calls).sum());
        if running.is_empty() {
            tracing::warn!(
                "the broker has not ended in time: no thread drives the runtime of the host, or something that it calls does not return"
            );
        }
        for (hook, calls) in running {
            tracing::warn!(
                hook,
                calls,
                "the broker has not ended in time: a hook that does not return is left"
            );
        }
    }
}

/// Waits for the end of all tasks, which closes a channel; a broker without threads is driven meanwhile.
fn has_ended(host: Option<&Arc<HostLoop>>, end: &Receiver<()>, limit: Option<Duration>) -> bool {
    if let Some(host) = host {
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        return host.drive_until(deadline, || {
            end.try_recv() == Err(TryRecvError::Disconnected)
        });
    }

    let ended = match limit {
        Some(limit) => end.recv_timeout(limit),
        None => end.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    ended == Err(RecvTimeoutError::Disconnected)
}

/// Progress of a stop.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// All tasks have ended.
    pub(crate) ended: bool,
    /// Hooks were abandoned.
    left_hooks: bool,
    /// So was what is run at the end of a thread.
    left_threads: bool,
}

impl Drop for BrokerState {
    fn drop(&mut self) {
        if self.background.is_some() {
            // `stop` has logged why it failed.
            let _ = self.stop(Stop::Now);
            return;
        }

        let host = self.engine.workers.host().cloned();
        if host.is_some() && self.stop(Stop::Now).is_ok() {
            return;
        }
        if !self.stopped.get_mut().ended {
            self.engine.hurry();
            self.engine.end_without_waiting();
        }
        if let Some(host) = host {
            host.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use midge_core::{ConnectRequest, HookSet, Hooks, Verdict};

    use super::*;
    use crate::handle::broker::Broker;

    /// Does not return before the test says so.
    struct Stuck {
        inside: Sender<()>,
        go: Mutex<Receiver<()>>,
    }

    impl Hooks for Stuck {
        fn set(&self) -> HookSet {
            HookSet::AUTHENTICATE
        }

        fn authenticate(&self, _: &ConnectRequest) -> Verdict {
            self.inside.send(()).unwrap();
            let _ = self.go.lock().unwrap().recv();
            Verdict::Allow
        }
    }

    /// A broker with a client whose hook does not return before `go`.
    fn stuck(patience: &str) -> (Broker, Sender<()>) {
        let ((inside, is_inside), (go, told)) = (channel(), channel());
        let hooks = Stuck {
            inside,
            go: Mutex::new(told),
        };
        let builder = Broker::builder().hooks(hooks);
        let builder = builder.set("shutdown.patience_ms", patience).unwrap();
        let broker = builder.start().unwrap();
        let mut client = UnixStream::from(broker.connect_fd().unwrap());
        client
            .write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c")
            .unwrap();
        is_inside.recv().unwrap();
        (broker, go)
    }

    #[test]
    fn a_hook_that_does_not_return_is_left_and_counted_once() {
        let (broker, go) = stuck("1");
        assert_eq!(
            broker.engine().context.hub.running_hooks(),
            [("authenticate", 1)]
        );
        for how in [Stop::Now, Stop::Drain(Duration::ZERO), Stop::Now] {
            assert_eq!(broker.stop(how), Err(StopError::Unfinished));
            assert_eq!(broker.stats().left_running, 1);
        }
        // The broker ends once the hook returns after all.
        let events = broker.events();
        go.send(()).unwrap();
        while events.recv().is_ok() {}
        assert_eq!(broker.stop(Stop::Now), Ok(()));
        assert!(broker.engine().context.hub.running_hooks().is_empty());
    }

    /// A broker on a runtime with a virtual clock, and a subscriber that reads nothing.
    fn full() -> (tokio::runtime::Runtime, Broker, UnixStream) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let builder = Broker::builder().runtime(runtime.handle().clone());
        let broker = builder.start().unwrap();
        let mut client = UnixStream::from(broker.connect_fd().unwrap());
        let subscribe = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c\x82\x06\0\x01\0\x01t\0";
        client.write_all(subscribe).unwrap();
        runtime.block_on(async {
            while broker.stats().subscriptions == 0 {
                tokio::task::yield_now().await;
            }
        });

        for _ in 0..8 {
            broker.publish("t", vec![0; 1 << 20]).unwrap();
        }

        assert!(!broker.engine().context.hub.is_settled());
        (runtime, broker, client)
    }

    #[test]
    fn a_client_that_does_not_read_holds_up_no_stop() {
        let limit = Duration::from_secs(5);
        for (drain, takes) in [(None, Duration::ZERO), (Some(limit), limit)] {
            let (runtime, broker, client) = full();
            let took = runtime.block_on(async {
                let begin = tokio::time::Instant::now();
                broker.engine().shut_down(drain).await;
                begin.elapsed()
            });
            // Resolution of the virtual clock.
            assert!(took >= takes && took <= takes + Duration::from_millis(1));
            drop((broker, client));
        }
    }

    #[test]
    fn a_client_refused_before_is_not_waited_for_either() {
        let (runtime, broker, client) = full();
        let took = runtime.block_on(async {
            assert!(broker.disconnect("c", midge_codec::ReasonCode::AdministrativeAction));
            // Until its driver waits for the client.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let begin = tokio::time::Instant::now();
            broker.engine().shut_down(None).await;
            begin.elapsed()
        });
        assert_eq!(took, Duration::ZERO);
        drop((broker, client));
    }

    #[test]
    fn what_is_run_at_the_end_of_a_thread_is_left_if_it_does_not_return() {
        let (go, told) = channel::<()>();
        let told = Mutex::new(told);
        let builder = Broker::builder().on_thread(
            || (),
            move || {
                let _ = told.lock().unwrap().recv();
            },
        );
        let builder = builder.set("shutdown.patience_ms", "1").unwrap();
        let broker = builder.start().unwrap();
        for _ in 0..2 {
            assert_eq!(broker.stop(Stop::Now), Err(StopError::Unfinished));
            assert_eq!(broker.stats().left_running, 1);
        }
        drop(go);
    }

    #[test]
    fn a_callback_that_does_not_return_is_left_when_it_is_dropped() {
        let ((inside, is_inside), (go, told)) = (channel(), channel::<()>());
        let builder = Broker::builder().set("shutdown.patience_ms", "1").unwrap();
        let broker = builder.start().unwrap();
        let callback = broker.subscribe("t").unwrap().on_message(move |_| {
            inside.send(()).unwrap();
            let _ = told.recv();
        });
        let callback = callback.unwrap();
        broker.publish("t", "x").unwrap();
        is_inside.recv().unwrap();
        drop(callback);
        assert_eq!(broker.stats().left_running, 1);
        drop(go);
        assert!(is_inside.recv().is_err());
        assert_eq!(broker.stop(Stop::Now), Ok(()));
    }

    #[test]
    fn a_broker_that_was_left_is_not_waited_for_when_it_is_dropped() {
        let (broker, go) = stuck("0");
        assert_eq!(broker.stop(Stop::Now), Err(StopError::Unfinished));
        // A drop that waited for the hook would not return.
        drop(broker);
        drop(go);
    }
}
