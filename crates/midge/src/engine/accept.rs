//! The one accept loop, for listeners of all kinds, and its pace.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::listener::{ListenAddr, Listener};
use crate::timers::Sleep;

/// Connections accepted in a turn. Then other tasks get theirs.
const ACCEPTS: u32 = 16;
/// Pause after an error of accept (no descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval of warnings while accept keeps failing.
const REMINDER: Duration = Duration::from_secs(60);

/// A listener of any kind, for the accept loop.
pub(crate) trait Accept: Send {
    /// See [`Listener::address`].
    fn address(&self) -> Option<ListenAddr>;

    /// Accepts until `stop` is cancelled or the listener ends.
    fn run(
        self: Box<Self>,
        engine: Arc<Engine>,
        name: Arc<str>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl<L: Listener> Accept for L {
    fn address(&self) -> Option<ListenAddr> {
        Listener::address(self)
    }

    fn run(
        self: Box<Self>,
        engine: Arc<Engine>,
        name: Arc<str>,
        stop: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(accept_all(*self, engine, name, stop))
    }
}

async fn accept_all<L: Listener>(
    mut listener: L,
    engine: Arc<Engine>,
    name: Arc<str>,
    stop: CancellationToken,
) {
    let mut pace = Pace::default();
    loop {
        let accepted = poll_fn(|cx| listener.poll_accept(cx));
        let Some(Some(accepted)) = stop.run_until_cancelled(accepted).await else {
            return;
        };

        let taken = accepted.and_then(|incoming| engine.connect(incoming, &name));
        let pause = || engine.context.timers.sleep(ACCEPT_PAUSE);
        pace.keep(taken, pause, &stop, &name).await;
    }
}

/// The pace of a listener: many connections that come at once do not hold up those that are there, nor
/// does an error that persists.
#[derive(Default)]
struct Pace {
    accepted: u32,
    trouble: Trouble,
}

impl Pace {
    async fn keep(
        &mut self,
        taken: io::Result<bool>,
        pause: impl FnOnce() -> Sleep,
        stop: &CancellationToken,
        name: &str,
    ) {
        match taken {
            Ok(_) => {
                if let Some(times) = self.trouble.over() {
                    tracing::warn!(listener = name, times, "accepting again after errors");
                }

                self.accepted = self.accepted.wrapping_add(1);
                if self.accepted.is_multiple_of(ACCEPTS) {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {
                tracing::debug!(listener = name, %error, "a connection was gone when it was accepted");
                tokio::task::yield_now().await;
            }
            Err(error) => {
                match self.trouble.again(Instant::now()) {
                    Some(1) => tracing::warn!(listener = name, %error, "accept failed"),
                    Some(times) => {
                        tracing::warn!(listener = name, %error, times, "accept still fails");
                    }
                    None => {}
                }
                stop.run_until_cancelled(pause()).await;
            }
        }
    }
}

/// Whether an error concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Coalesces warnings of a repeated error, such as no free descriptor.
#[derive(Default)]
struct Trouble {
    times: u64,
    told: Option<Instant>,
}

impl Trouble {
    /// Counts an error. Returns the count if a warning is due.
    fn again(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        let is_due = (self.told).is_none_or(|told| now.duration_since(told) >= REMINDER);
        is_due.then(|| {
            self.told = Some(now);
            self.times
        })
    }

    /// Ends a series of errors. Returns its count if there was one.
    fn over(&mut self) -> Option<u64> {
        self.told.take()?;
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_goes_on_is_told_seldom_and_with_its_number() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(trouble.over(), None);
        let told: Vec<_> = (0..130).filter_map(|s| trouble.again(at(s))).collect();
        assert_eq!(told, [1, 61, 121]);
        assert_eq!(trouble.over(), Some(130));
        assert_eq!(trouble.over(), None);
        assert_eq!(trouble.again(at(131)), Some(1));
    }

    #[test]
    fn a_client_that_hung_up_before_it_was_accepted_is_no_trouble() {
        let of_one = |code| is_of_one_connection(&io::Error::from_raw_os_error(code));
        assert!(of_one(libc::ECONNABORTED) && of_one(libc::EINTR));
        assert!(!of_one(libc::EMFILE) && !of_one(libc::ENFILE) && !of_one(libc::ENOBUFS));
    }
}
