//! The broker handle.

use std::sync::Mutex;
use std::time::Duration;

use midge::{EventMask, MessageRef, PollError, PublishError, Stop};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::descriptor;
use crate::errors;
use crate::event::{mask, version};
use crate::hooks::reason_code;
use crate::message::{Message, Properties, payload, payload_bytes, qos};
use crate::queue::{Events, Subscription};
use crate::receipt::Receipt;
use crate::{forked, generation, inside, lock, outside, seconds, wait};

/// A running broker.
#[pyclass(frozen, module = "midge._midge")]
pub struct Broker {
    inner: Mutex<Option<midge::Broker>>,
    generation: u32,
    hooked: bool,
    #[pyo3(get)]
    port: u16,
    #[pyo3(get)]
    url: String,
}

fn publish_error(error: &PublishError) -> PyErr {
    let text = error.to_string();
    match error {
        PublishError::Stopped => errors::StoppedError::new_err(text),
        PublishError::Refused(_) | PublishError::TooDeep => errors::RefusedError::new_err(text),
        PublishError::InvalidTopic(_) => PyValueError::new_err(format!("topic: {text}")),
        PublishError::TooLarge => PyValueError::new_err(format!("payload: {text}")),
        PublishError::InvalidProperty(_) => PyValueError::new_err(format!("properties: {text}")),
        _ => PyValueError::new_err(text),
    }
}

fn poll_error(error: &PollError) -> PyErr {
    match error {
        PollError::Stopped => errors::StoppedError::new_err(error.to_string()),
        error => PyRuntimeError::new_err(error.to_string()),
    }
}

#[cfg(unix)]
fn poll_fd(broker: &midge::Broker) -> Result<i32, PollError> {
    use std::os::fd::AsRawFd;
    broker.poll_fd().map(|fd| fd.as_raw_fd())
}

#[cfg(not(unix))]
fn poll_fd(broker: &midge::Broker) -> Result<i32, PollError> {
    broker.poll_timeout()?;
    Err(PollError::NoDescriptor)
}

impl Broker {
    pub(crate) fn new(broker: midge::Broker, hooked: bool) -> Self {
        let (port, url) = (broker.port(), broker.url());
        Self {
            inner: Mutex::new(Some(broker)),
            generation: generation(),
            hooked,
            port,
            url,
        }
    }

    fn is_forked(&self) -> bool {
        self.generation != generation()
    }

    fn own(&self) -> PyResult<()> {
        if self.is_forked() {
            return Err(forked());
        }
        Ok(())
    }

    fn handle(&self) -> PyResult<midge::Broker> {
        self.own()?;
        lock(&self.inner)
            .clone()
            .ok_or_else(|| errors::StoppedError::new_err("the broker has stopped"))
    }
}

#[pymethods]
impl Broker {
    #[getter]
    fn running(&self) -> bool {
        !self.is_forked() && lock(&self.inner).is_some()
    }

    #[getter]
    fn forked(&self) -> bool {
        self.is_forked()
    }

    /// Where it listens: host and port, or a path.
    fn addresses<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let address = |address: &midge::ListenAddr| match address {
            midge::ListenAddr::Tcp(address) => {
                let pair = (address.ip().to_string(), address.port());
                Ok(pair.into_pyobject(py)?.into_any())
            }
            midge::ListenAddr::Unix(path) => Ok(path.as_os_str().into_pyobject(py)?.into_any()),
            other => Ok(other.to_string().into_pyobject(py)?.into_any()),
        };
        self.handle()?.addrs().iter().map(address).collect()
    }

    /// Does what there is to do, or waits for it; whether there was something.
    fn poll(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let broker = self.handle()?;
        let polled = wait(py, timeout, |time| match broker.poll(time) {
            Ok(false) => None,
            done => Some(done),
        })?;
        polled.map_or(Ok(false), |done| done.map_err(|error| poll_error(&error)))
    }

    /// A descriptor that is readable while there is something to do.
    fn poll_fd(&self) -> PyResult<i32> {
        poll_fd(&self.handle()?).map_err(|error| poll_error(&error))
    }

    /// Seconds until the next deadline, if there is one.
    fn poll_timeout(&self) -> PyResult<Option<f64>> {
        let timeout = self.handle()?.poll_timeout();
        let timeout = timeout.map_err(|error| poll_error(&error))?;
        Ok(timeout.map(|time| time.as_secs_f64()))
    }

    /// Stops it; `drain` seconds for clients to take what waits for them.
    fn stop(&self, py: Python<'_>, drain: f64) -> PyResult<()> {
        self.own()?;
        let drain = seconds("timeout", drain)?;
        let Some(broker) = lock(&self.inner).take() else {
            return Ok(());
        };
        let how = if drain.is_zero() {
            Stop::Now
        } else {
            Stop::Drain(drain)
        };
        outside(py, move || broker.stop(how))?
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    #[allow(clippy::too_many_arguments)] // what Python passes by position
    fn publish(
        &self,
        py: Python<'_>,
        topic: &str,
        payload: &Bound<'_, PyAny>,
        qos: u8,
        retain: bool,
        properties: Option<Properties>,
        client_id: Option<String>,
        to: Option<&str>,
    ) -> PyResult<Receipt> {
        let broker = self.handle()?;
        let qos = self::qos(qos)?;
        if properties.is_none() && client_id.is_none() && to.is_none() {
            // As nearly all are: only what is kept is copied.
            let mut message = MessageRef::new(topic, payload_bytes(payload)?);
            (message.qos, message.retain) = (qos, retain);
            let publish = || broker.publish_ref(message, None, true);
            // Where no hook is asked and no socket written to, there is nothing to wait for.
            let inner = if self.hooked || broker.connections() > 0 {
                outside(py, publish)?
            } else {
                inside(publish)?
            };
            let inner = inner.map_err(|error| publish_error(&error))?;
            return Ok(Receipt { inner });
        }

        let mut message = broker
            .message(topic)
            .payload(self::payload(payload)?)
            .qos(qos)
            .retain(retain);

        if let Some(properties) = properties {
            message = with_properties(message, &properties);
        }
        if let Some(client_id) = client_id {
            message = message.from_client(client_id);
        }

        let receipt = match to {
            None => outside(py, || message.send())?.map_err(|error| publish_error(&error))?,
            Some(to) => outside(py, || message.send_to(to))?.map_err(|error| match error {
                midge::SendError::Publish(error) => publish_error(&error),
                error => PyValueError::new_err(format!("to: {error}")),
            })?,
        };

        Ok(Receipt { inner: receipt })
    }

    /// Subscribes to filters with one bounded queue.
    fn subscribe(
        &self,
        py: Python<'_>,
        filters: Vec<String>,
        qos: u8,
        capacity: usize,
        retained: bool,
    ) -> PyResult<Subscription> {
        let (broker, qos) = (self.handle()?, self::qos(qos)?);
        let options = subscribe_options(qos, capacity, retained);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        outside(py, || broker.subscribe_with(&filters, options))?
            .map(Subscription::new)
            .map_err(|error| PyValueError::new_err(format!("filter: {error}")))
    }

    /// Observes what happens; all kinds if none is named.
    fn events(&self, kinds: Vec<String>, capacity: usize) -> PyResult<Events> {
        let kinds = watched_kinds(&kinds)?;
        Ok(Events::new(self.handle()?.events_with(kinds, capacity)))
    }

    /// The retained messages that match a filter.
    fn retained(&self, py: Python<'_>, filter: &str) -> PyResult<Vec<Message>> {
        let broker = self.handle()?;
        let kept = outside(py, || broker.retained(filter))?;
        Ok(kept.iter().map(Message::received).collect())
    }

    fn clear_retained(&self, py: Python<'_>, filter: &str) -> PyResult<usize> {
        crate::topic_filter(filter)?;
        let broker = self.handle()?;
        outside(py, || broker.clear_retained(filter))
    }

    /// Connected clients, as the keywords of `ClientInfo`.
    fn clients<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let broker = self.handle()?;
        let view = |client: midge::ClientView| {
            let row = PyDict::new(py);
            row.set_item("client_id", &*client.info.client_id)?;
            row.set_item("username", client.info.username.as_deref())?;
            row.set_item("peer", &*client.info.peer)?;
            row.set_item("version", version(client.info.version))?;
            row.set_item("connection", client.connection)?;
            row.set_item("session", client.session)?;
            row.set_item("subscriptions", client.subscriptions)?;
            row.set_item("queued", client.queued)?;
            row.set_item("inflight", client.inflight)?;
            Ok(row)
        };
        let clients = outside(py, || broker.clients())?;
        clients.into_iter().map(view).collect()
    }

    /// Sessions, as the keywords of `SessionInfo`.
    fn sessions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let broker = self.handle()?;
        let view = |session: midge::SessionView| {
            let row = PyDict::new(py);
            let expiry = (session.expiry_s != u32::MAX).then_some(session.expiry_s);
            row.set_item("client_id", &*session.client_id)?;
            row.set_item("username", session.username.as_deref())?;
            row.set_item("number", session.number)?;
            row.set_item("connected", session.connected)?;
            row.set_item("expiry", expiry)?;
            row.set_item("subscriptions", session.subscriptions)?;
            row.set_item("queued", session.queued)?;
            row.set_item("queued_bytes", session.queued_bytes)?;
            row.set_item("inflight", session.inflight)?;
            row.set_item("has_will", session.has_will)?;
            Ok(row)
        };
        let sessions = outside(py, || broker.sessions())?;
        sessions.into_iter().map(view).collect()
    }

    /// Subscriptions, as the keywords of `SubscriptionInfo`.
    fn subscriptions<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let broker = self.handle()?;
        let view = |subscription: midge::SubscriptionView| {
            let row = PyDict::new(py);
            row.set_item("client_id", &*subscription.client_id)?;
            row.set_item("filter", &*subscription.filter)?;
            row.set_item("qos", subscription.options.qos as u8)?;
            row.set_item("no_local", subscription.options.no_local)?;
            row.set_item(
                "retain_as_published",
                subscription.options.retain_as_published,
            )?;
            row.set_item("identifier", subscription.id)?;
            Ok(row)
        };
        let subscriptions = outside(py, || broker.subscriptions(None))?;
        subscriptions.into_iter().map(view).collect()
    }

    /// Counters, as the keywords of `Stats`.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let broker = self.handle()?;
        let stats = outside(py, || broker.stats())?;
        let row = PyDict::new(py);
        for (name, value) in stats.values() {
            row.set_item(name, value)?;
        }

        let memory = PyDict::new(py);
        for (name, value) in stats.memory.values() {
            memory.set_item(name, value)?;
        }
        row.set_item("memory", memory)?;

        let dropped = PyDict::new(py);
        for (reason, count) in stats.dropped() {
            dropped.set_item(reason.name(), count)?;
        }

        row.set_item("dropped", dropped)?;
        Ok(row)
    }

    /// Disconnects a client; whether it was connected.
    fn disconnect(&self, py: Python<'_>, client_id: &str, reason: u8) -> PyResult<bool> {
        let (reason, broker) = (reason_code(reason)?, self.handle()?);
        outside(py, || broker.disconnect(client_id, reason))
    }

    fn clear_session(&self, py: Python<'_>, client_id: &str) -> PyResult<bool> {
        let broker = self.handle()?;
        outside(py, || broker.clear_session(client_id))
    }

    /// Moves a manual clock by seconds.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let by = crate::seconds("seconds", seconds)?;
        let broker = self.handle()?;
        outside(py, || broker.clock().advance(by))
    }

    /// Seconds since the start by the broker's clock.
    fn now(&self) -> PyResult<f64> {
        Ok(self.handle()?.clock().now().as_secs_f64())
    }

    /// Waits until nothing is queued or in flight; whether it came to rest in time.
    fn settle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let broker = self.handle()?;
        let rest = wait(py, timeout, |time| {
            broker.settle(time).is_ok().then_some(())
        })?;
        Ok(rest.is_some())
    }

    /// The descriptor of a connected socket that speaks MQTT. The caller owns it.
    fn connect_fd(&self, py: Python<'_>) -> PyResult<descriptor::Number> {
        let broker = self.handle()?;
        match outside(py, || broker.connect_fd())? {
            Ok(socket) => Ok(descriptor::give(socket)),
            Err(midge::ConnectError::Io(source)) => Err(source.into()),
            Err(error) => Err(errors::RefusedError::new_err(error.to_string())),
        }
    }
}

pub(crate) fn subscribe_options(
    qos: midge::QoS,
    capacity: usize,
    retained: bool,
) -> midge::SubscribeOptions {
    midge::SubscribeOptions::default()
        .capacity(capacity)
        .qos(qos)
        .retained(retained)
}

/// The kinds of events with these names; all if none is named.
pub(crate) fn watched_kinds(names: &[String]) -> PyResult<EventMask> {
    match names {
        [] => Ok(EventMask::ALL),
        names => mask(names),
    }
}

fn with_properties<'a>(
    mut message: midge::Outgoing<'a>,
    properties: &Properties,
) -> midge::Outgoing<'a> {
    if let Some(seconds) = properties.message_expiry {
        message = message.message_expiry(Duration::from_secs(seconds.into()));
    }
    if properties.utf8 {
        message = message.payload_format_utf8();
    }
    if let Some(content_type) = &properties.content_type {
        message = message.content_type(content_type);
    }
    if let Some(topic) = &properties.response_topic {
        message = message.response_topic(topic);
    }
    if let Some(data) = &properties.correlation_data {
        message = message.correlation_data(data);
    }
    for (name, value) in &properties.user {
        message = message.user_property(name, value);
    }

    message
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(broker) = lock(&self.inner).take() else {
            return;
        };
        if self.is_forked() {
            // The threads are the parent's: there is nothing to wait for, and waiting would not end.
            std::mem::forget(broker);
        } else {
            // Not here: a hook's answer may need the interpreter that this thread holds.
            let _ = std::thread::Builder::new()
                .name("midge-end".into())
                .spawn(move || drop(broker));
        }
    }
}
