//! What waits for a moment: on the timers of a runtime, or on those of a broker that its host drives, of
//! which the next one is known.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where to wait for a moment.
#[derive(Clone)]
pub(crate) enum Timers {
    /// The runtime's, on which the task runs.
    Runtime,
    /// Those that a host's loop fires.
    Host(Arc<Alarms>),
}

impl Timers {
    /// Resolves after this time.
    pub(crate) fn sleep(&self, time: Duration) -> Sleep {
        match self {
            Self::Runtime => Sleep::Runtime(Box::pin(tokio::time::sleep(time))),
            Self::Host(alarms) => Sleep::Host(Alarm::new(alarms, time)),
        }
    }

    /// Waits for a future, but not longer than this. `None` when the time is over.
    pub(crate) async fn within<T>(
        &self,
        time: Duration,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let Self::Host(alarms) = self else {
            return tokio::time::timeout(time, future).await.ok();
        };

        let mut alarm = Alarm::new(alarms, time);
        let mut future = pin!(future);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => Pin::new(&mut alarm).poll(cx).map(|()| None),
        })
        .await
    }
}

/// Resolves after a time; made by [`Timers::sleep`].
pub(crate) enum Sleep {
    Runtime(Pin<Box<tokio::time::Sleep>>),
    Host(Alarm),
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Runtime(sleep) => sleep.as_mut().poll(cx),
            Self::Host(alarm) => Pin::new(alarm).poll(cx),
        }
    }
}

/// A moment, and a number that tells those of one moment apart.
type Moment = (Instant, u64);

#[derive(Default)]
struct Armed {
    wakers: BTreeMap<Moment, Waker>,
    count: u64,
}

/// The moments that tasks of one broker wait for.
#[derive(Default)]
pub(crate) struct Alarms(Mutex<Armed>);

impl Alarms {
    /// The next moment.
    pub(crate) fn next(&self) -> Option<Instant> {
        let armed = self.0.lock();
        armed.wakers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes everything whose moment has come.
    pub(crate) fn fire(&self, now: Instant) {
        let mut armed = self.0.lock();
        let later = armed.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut armed.wakers, later);
        drop(armed);

        due.into_values().for_each(Waker::wake);
    }
}

/// One moment that a task waits for.
pub(crate) struct Alarm {
    alarms: Arc<Alarms>,
    /// `None` is never: there is no moment as late as that.
    moment: Option<Moment>,
}

impl Alarm {
    fn new(alarms: &Arc<Alarms>, time: Duration) -> Self {
        let at = Instant::now().checked_add(time);
        let moment = at.map(|at| {
            let mut armed = alarms.0.lock();
            armed.count = armed.count.wrapping_add(1);
            (at, armed.count)
        });
        Self {
            alarms: alarms.clone(),
            moment,
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(moment) = self.moment else {
            return Poll::Pending;
        };
        if Instant::now() >= moment.0 {
            return Poll::Ready(());
        }

        let before = (self.alarms.0.lock().wakers).insert(moment, cx.waker().clone());
        drop(before);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(moment) = self.moment {
            let gone = self.alarms.0.lock().wakers.remove(&moment);
            drop(gone);
        }
    }
}
