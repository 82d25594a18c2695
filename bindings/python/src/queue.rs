//! What Python pulls: messages and events.

use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use midge::{Event, Property, RecvError};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::{StoppedError, wait};

/// A received message. The payload is copied when it is asked for.
#[pyclass(frozen, module = "midge._midge")]
pub(crate) struct Message {
    inner: midge::Message,
}

impl Message {
    pub(crate) fn new(inner: midge::Message) -> Self {
        Self { inner }
    }
}

#[pymethods]
impl Message {
    #[getter]
    fn topic(&self) -> &str {
        self.inner.topic()
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.payload())
    }

    #[getter]
    fn qos(&self) -> u8 {
        self.inner.qos() as u8
    }

    #[getter]
    fn retain(&self) -> bool {
        self.inner.retain()
    }

    #[getter]
    fn published_retained(&self) -> bool {
        self.inner.published_retained()
    }

    #[getter]
    fn client_id(&self) -> Option<&str> {
        self.inner.origin().client_id()
    }

    #[getter]
    fn message_expiry(&self) -> Option<u32> {
        self.inner.message_expiry()
    }

    #[getter]
    fn user_properties(&self) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.inner
            .properties()
            .user_properties()
            .map(owned)
            .collect()
    }

    #[getter]
    fn content_type(&self) -> Option<String> {
        self.inner
            .properties()
            .iter()
            .find_map(|property| match property {
                Property::ContentType(text) => Some(text.to_owned()),
                _ => None,
            })
    }

    #[getter]
    fn response_topic(&self) -> Option<String> {
        self.inner
            .properties()
            .iter()
            .find_map(|property| match property {
                Property::ResponseTopic(text) => Some(text.to_owned()),
                _ => None,
            })
    }

    #[getter]
    fn correlation_data<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.inner
            .properties()
            .iter()
            .find_map(|property| match property {
                Property::CorrelationData(data) => Some(PyBytes::new(py, data)),
                _ => None,
            })
    }
}

/// A descriptor that becomes readable when something waits, for event loops. The reading end
/// belongs to Python.
fn wake_fd(mut register: impl FnMut(Box<dyn Fn() + Send + Sync>)) -> PyResult<i32> {
    let (read, write) =
        UnixStream::pair().map_err(|error| PyOSError::new_err(error.to_string()))?;
    for end in [&read, &write] {
        end.set_nonblocking(true)
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
    }
    let write = Mutex::new(write);
    register(Box::new(move || {
        // Full means that a wake-up is on its way already.
        if let Ok(mut write) = write.lock() {
            let _ = write.write(&[1]);
        }
    }));
    Ok(read.into_raw_fd())
}

/// An in-process subscription.
#[pyclass(frozen, module = "midge._midge")]
pub(crate) struct Subscription {
    inner: Mutex<Option<std::sync::Arc<midge::Subscription>>>,
}

impl Subscription {
    pub(crate) fn new(inner: midge::Subscription) -> Self {
        Self {
            inner: Mutex::new(Some(std::sync::Arc::new(inner))),
        }
    }

    fn handle(&self) -> PyResult<std::sync::Arc<midge::Subscription>> {
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        inner
            .clone()
            .ok_or_else(|| StoppedError::new_err("the subscription has ended"))
    }
}

#[pymethods]
impl Subscription {
    /// The next message, or `None` when none came in time.
    fn get(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Message>> {
        let subscription = self.handle()?;
        let got = wait(py, timeout, |slice| {
            match subscription.recv_timeout(slice) {
                Ok(message) => Some(Ok(message)),
                Err(RecvError::Timeout) => None,
                Err(RecvError::Closed) => Some(Err(())),
            }
        })?;
        match got {
            Some(Ok(message)) => Ok(Some(Message::new(message))),
            Some(Err(())) => Err(StoppedError::new_err("the broker has stopped")),
            None => Ok(None),
        }
    }

    /// Up to `limit` messages that wait, without waiting.
    fn drain(&self, limit: usize) -> PyResult<Vec<Message>> {
        let mut messages = Vec::new();
        self.handle()?
            .drain_into(&mut messages, limit)
            .map_err(|_| StoppedError::new_err("the broker has stopped"))?;
        Ok(messages.into_iter().map(Message::new).collect())
    }

    /// A descriptor that becomes readable when something waits.
    fn wake_fd(&self) -> PyResult<i32> {
        let subscription = self.handle()?;
        wake_fd(|notify| subscription.on_ready(notify))
    }

    #[getter]
    fn lost(&self) -> PyResult<u64> {
        Ok(self.handle()?.lost())
    }

    fn close(&self, py: Python<'_>) {
        let taken = {
            let mut inner = self
                .inner
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            inner.take()
        };
        py.detach(move || drop(taken));
    }
}

/// A view of what happens.
#[pyclass(frozen, module = "midge._midge")]
pub(crate) struct Events {
    inner: midge::Events,
}

impl Events {
    pub(crate) fn new(inner: midge::Events) -> Self {
        Self { inner }
    }
}

/// Milliseconds, name, client identifier, topic or filter, detail.
type Row = (u64, &'static str, Option<String>, Option<String>, String);

fn row(observed: &midge::Observed) -> Row {
    let id = |id: &str| Some(id.to_owned());
    let (name, client, topic, detail) = match &observed.event {
        Event::ClientConnected {
            client_id,
            session_present,
            ..
        } => {
            let detail = if *session_present {
                "session resumed"
            } else {
                ""
            };
            ("connected", id(client_id), None, detail.to_owned())
        }
        Event::ConnectionRefused {
            client_id, reason, ..
        } => ("refused", id(client_id), None, format!("{reason:?}")),
        Event::ClientDisconnected { client_id, reason } => {
            ("disconnected", id(client_id), None, format!("{reason:?}"))
        }
        Event::Subscribed {
            client_id,
            filter,
            qos,
        } => (
            "subscribed",
            id(client_id),
            id(filter),
            format!("qos {}", *qos as u8),
        ),
        Event::SubscribeRefused {
            client_id,
            filter,
            reason,
        } => (
            "subscribe_refused",
            id(client_id),
            id(filter),
            reason.name().to_owned(),
        ),
        Event::Unsubscribed { client_id, filter } => {
            ("unsubscribed", id(client_id), id(filter), String::new())
        }
        Event::Published { message, matched } => {
            let client = message.origin().client_id().map(str::to_owned);
            (
                "published",
                client,
                id(message.topic()),
                format!("{matched} matched"),
            )
        }
        Event::Delivered {
            client_id,
            message,
            qos,
        } => (
            "delivered",
            id(client_id),
            id(message.topic()),
            format!("qos {}", *qos as u8),
        ),
        Event::Acknowledged { client_id, message } => (
            "acknowledged",
            id(client_id),
            id(message.topic()),
            String::new(),
        ),
        Event::Dropped {
            client_id,
            topic,
            reason,
        } => {
            let client = client_id.as_deref().map(str::to_owned);
            ("dropped", client, id(topic), reason.name().to_owned())
        }
        Event::RetainedExpired { message } => ("expired", None, id(message.topic()), String::new()),
        Event::SessionEnded { client_id } => ("session_ended", id(client_id), None, String::new()),
        Event::WillSent { client_id, topic } => {
            ("will_sent", id(client_id), id(topic), String::new())
        }
        other => ("other", None, None, format!("{other:?}")),
    };
    (observed.at.0, name, client, topic, detail)
}

#[pymethods]
impl Events {
    /// The next event, or `None` when none came in time.
    fn get(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<Row>> {
        let got = wait(py, timeout, |slice| match self.inner.recv_timeout(slice) {
            Ok(observed) => Some(Some(observed)),
            Err(RecvError::Timeout) => None,
            Err(RecvError::Closed) => Some(None),
        })?;
        match got {
            Some(Some(observed)) => Ok(Some(row(&observed))),
            Some(None) => Err(StoppedError::new_err("the broker has stopped")),
            None => Ok(None),
        }
    }

    /// Everything that waits, without waiting.
    fn drain(&self) -> Vec<Row> {
        let mut events = Vec::new();
        // Closed and empty is as good as empty here.
        let _ = self.inner.drain_into(&mut events, usize::MAX);
        events.iter().map(row).collect()
    }
}
