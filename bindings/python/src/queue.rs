//! What Python pulls: messages and events.

use std::sync::atomic::{AtomicBool, Ordering};

use midge::RecvError;
use pyo3::prelude::*;

use crate::errors::StoppedError;
use crate::event::Event;
use crate::message::Message;
use crate::wake::{Wake, Wakes};
use crate::{Owned, outside, wait};

fn ended() -> PyErr {
    StoppedError::new_err("the broker has stopped, or this was closed")
}

macro_rules! receiver {
    ($name:ident, $native:ty, $item:ty, $convert:expr) => {
        #[pyclass(frozen, module = "midge._midge")]
        pub struct $name {
            inner: Owned<$native>,
            wakes: Wakes,
            bridged: AtomicBool,
        }

        impl $name {
            pub(crate) fn new(inner: $native) -> Self {
                Self {
                    inner: Owned::new(inner),
                    wakes: Wakes::default(),
                    bridged: AtomicBool::new(false),
                }
            }
        }

        #[pymethods]
        impl $name {
            /// The next one, or `None` when none came in time.
            #[pyo3(signature = (timeout=None))]
            fn get(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<$item>> {
                let inner = self.inner.get()?;
                if let Some(item) = inner.try_recv() {
                    return $convert(py, &item).map(Some);
                }
                let got = wait(py, timeout, |time| match inner.recv_timeout(time) {
                    Ok(item) => Some(Ok(item)),
                    Err(RecvError::Timeout) => None,
                    Err(_) => Some(Err(())),
                })?;
                match got {
                    Some(Ok(item)) => $convert(py, &item).map(Some),
                    Some(Err(())) => Err(ended()),
                    None => Ok(None),
                }
            }

            /// Up to `limit` that wait, without waiting.
            fn drain(&self, py: Python<'_>, limit: usize) -> PyResult<Vec<$item>> {
                let mut items = Vec::new();
                self.inner
                    .get()?
                    .drain_into(&mut items, limit)
                    .map_err(|_| ended())?;
                items.iter().map(|item| $convert(py, item)).collect()
            }

            /// A descriptor that tells an event loop when something has come.
            fn wake(&self) -> PyResult<Wake> {
                let inner = self.inner.get()?;
                let wake = self.wakes.add()?;
                if !self.bridged.swap(true, Ordering::SeqCst) {
                    let wakes = self.wakes.clone();
                    inner.on_ready(move || wakes.wake());
                }
                Ok(wake)
            }

            #[getter]
            fn lost(&self) -> PyResult<u64> {
                Ok(self.inner.get()?.lost())
            }

            fn __len__(&self) -> PyResult<usize> {
                Ok(self.inner.get()?.len())
            }

            fn close(&self, py: Python<'_>) -> PyResult<()> {
                let inner = self.inner.get()?;
                outside(py, || inner.close())
            }
        }
    };
}

#[allow(clippy::unnecessary_wraps)] // the other conversion can fail
fn message(_: Python<'_>, message: &midge::Message) -> PyResult<Message> {
    Ok(Message::received(message))
}

receiver!(Subscription, midge::Subscription, Message, message);
receiver!(Events, midge::Events, Event, Event::seen);
