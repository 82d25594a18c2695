//! What the console of Windows sends to its programs, and the system at its end.

use std::future::poll_fn;
use std::pin::pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlLogoff, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close,
    ctrl_logoff, ctrl_shutdown,
};
use tokio::sync::Notify;

use crate::Failure;

/// Exit status of a program that Ctrl-C ended: `STATUS_CONTROL_C_EXIT`.
const INTERRUPTED: i32 = 0xC000_013A_u32.cast_signed();

/// What ends a program, received instead of ending it: Ctrl-C, Ctrl-Break, the console's end, logoff and
/// shutdown. The system leaves a program a few seconds after one of the last three.
pub(crate) struct Signals {
    received: Receiver<Option<Signal>>,
    handle: Handle,
}

/// Ends the wait for signals, and the thread that receives them.
#[derive(Clone)]
pub(crate) struct Handle {
    sender: Sender<Option<Signal>>,
    closed: Arc<Notify>,
}

/// What was received.
#[derive(Clone, Copy)]
pub(crate) struct Signal(&'static str);

impl Signals {
    /// Receives them from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(Failure::new)?;
        let mut sources = {
            let _entered = runtime.enter();
            Sources::new().map_err(Failure::new)?
        };

        let (sender, received) = mpsc::channel();
        let closed = Arc::new(Notify::new());
        let (sends, ends) = (sender.clone(), closed.clone());
        let receive = move || {
            runtime.block_on(async {
                let mut ended = pin!(ends.notified());
                while let Some(signal) = poll_fn(|cx| match ended.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(None),
                    Poll::Pending => sources.poll(cx).map(Some),
                })
                .await
                {
                    if sends.send(Some(signal)).is_err() {
                        return;
                    }
                }
            });
        };
        thread::Builder::new()
            .spawn(receive)
            .map_err(Failure::new)?;

        Ok(Self {
            received,
            handle: Handle { sender, closed },
        })
    }

    /// Waits for the next one; `None` once the handle has closed them.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        self.received.recv().ok().flatten()
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
    }
}

impl Handle {
    pub(crate) fn close(&self) {
        let _ = self.sender.send(None);
        self.closed.notify_one();
    }
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        self.0
    }
}

struct Sources {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    logoff: CtrlLogoff,
    shutdown: CtrlShutdown,
}

impl Sources {
    /// On the runtime that has been entered.
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            logoff: ctrl_logoff()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Signal> {
        let came = |polled: Poll<Option<()>>| matches!(polled, Poll::Ready(Some(())));

        let name = if came(self.interrupt.poll_recv(cx)) {
            "Ctrl-C"
        } else if came(self.stop.poll_recv(cx)) {
            "Ctrl-Break"
        } else if came(self.close.poll_recv(cx)) {
            "the end of the console"
        } else if came(self.logoff.poll_recv(cx)) {
            "logoff"
        } else if came(self.shutdown.poll_recv(cx)) {
            "shutdown"
        } else {
            return Poll::Pending;
        };
        Poll::Ready(Signal(name))
    }
}

/// Receives until the handle closes: a console sends its signals to the child itself.
pub(crate) fn pass_on(mut signals: Signals, _child: u32, _at_terminal: bool) {
    while signals.next().is_some() {}
}

/// The exit status of a child.
pub(crate) fn status_of(child: ExitStatus) -> i32 {
    child.code().unwrap_or(1)
}

/// Says farewell when a signal ends the program, which ends then, with the status of a program that was
/// interrupted. A second signal does not wait for that. Drop it to end its thread.
pub(crate) struct Farewell {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Farewell {
    /// `say` is called once at most, on a thread of its own.
    pub(crate) fn start(say: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let mut signals = Signals::new()?;
        let handle = signals.handle();

        let wait = move || {
            if signals.next().is_some() {
                let said = thread::Builder::new().spawn(move || {
                    say();
                    std::process::exit(INTERRUPTED);
                });
                if said.is_err() || signals.next().is_some() {
                    std::process::exit(INTERRUPTED);
                }
            }
        };
        let thread = thread::Builder::new().spawn(wait).map_err(Failure::new)?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
