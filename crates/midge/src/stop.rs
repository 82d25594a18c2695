//! The end of a broker: asked for, or because its last handle is gone.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::broker::Inner;
use crate::error::StopError;
use crate::threads::Background;

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

/// How long the end of all tasks is waited for, beyond the time to drain. They take three seconds at
/// most, unless a hook does not return or no thread drives the runtime.
const PATIENCE: Duration = Duration::from_secs(10);

impl Inner {
    pub(crate) fn stop_soon(&self, how: Stop, then: impl FnOnce() + Send + 'static) {
        if how == Stop::Now {
            self.core.hurry();
        }
        let end = self.background.as_ref().map(Background::ender);
        drop(self.core.end_soon(how.drain(), move || {
            // Whatever becomes of `then`, the threads end.
            let _end = end.map(CancellationToken::drop_guard);
            then();
        }));
    }

    pub(crate) fn stop(&self, how: Stop) -> Result<(), StopError> {
        let patience = how.drain().unwrap_or_default().checked_add(PATIENCE);
        self.stop_within(how, patience)
    }

    fn stop_within(&self, how: Stop, patience: Option<Duration>) -> Result<(), StopError> {
        if how == Stop::Now {
            self.core.hurry();
        }
        let own = match &self.background {
            Some(background) => background.is_own_thread(),
            None => tokio::runtime::Handle::try_current().is_ok(),
        };
        if own || midge_core::is_in_hook() {
            let end = self.background.as_ref().map(|background| {
                let end = background.ender();
                move || end.cancel()
            });
            drop(self.core.end_soon(how.drain(), move || {
                end.into_iter().for_each(|end| end());
            }));
            return Err(StopError::OnBrokerThread);
        }

        let mut stopped = self.stopped.lock();
        if !*stopped {
            let (done, wait) = mpsc::sync_channel::<()>(1);
            drop(self.core.end_soon(how.drain(), move || drop(done)));
            let ended = match patience {
                Some(patience) => wait.recv_timeout(patience),
                None => wait.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if ended == Err(RecvTimeoutError::Timeout) {
                return Err(StopError::Unfinished);
            }
            *stopped = true;
        }
        if let Some(background) = &self.background {
            background.end();
            background.join();
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.background.is_none() {
            if !*self.stopped.get_mut() {
                self.core.hurry();
                self.core.end_without_waiting();
            }
        } else if self.stop(Stop::Now) == Err(StopError::Unfinished) {
            tracing::warn!(
                "a broker was dropped whose threads have not ended: a hook that does not return"
            );
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
    use crate::broker::Broker;

    /// Does not return before it is told to.
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

    #[test]
    fn a_hook_that_does_not_return_is_not_waited_for_without_end() {
        let ((inside, is_inside), (go, told)) = (channel(), channel());
        let hooks = Stuck {
            inside,
            go: Mutex::new(told),
        };
        let broker = Broker::builder().hooks(hooks).start().unwrap();
        let mut client = UnixStream::from(broker.connect_fd().unwrap());
        client
            .write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c")
            .unwrap();
        is_inside.recv().unwrap();
        for how in [Stop::Drain(Duration::MAX), Stop::Now] {
            let stopped = broker.inner.stop_within(how, Some(Duration::ZERO));
            assert_eq!(stopped, Err(StopError::Unfinished));
        }
        go.send(()).unwrap();
        assert_eq!(broker.stop(Stop::Now), Ok(()));
        assert_eq!(broker.stop(Stop::Now), Ok(()));
    }
}
