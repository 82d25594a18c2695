//! The broker handle.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use midge::{Clock, PublishError, QoS, ReasonCode, Stop};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::queue::{Events, Message, Subscription};
use crate::{ForkedError, RefusedError, StoppedError, start_error, wait};

/// A running broker.
#[pyclass(frozen, module = "midge._midge")]
pub(crate) struct Broker {
    inner: Mutex<Option<midge::Broker>>,
    process: u32,
    port: u16,
    url: String,
}

/// Properties of a message to be published.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Properties {
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    message_expiry: Option<u32>,
    payload_is_utf8: bool,
    user: Vec<(String, String)>,
}

impl Broker {
    fn handle(&self) -> PyResult<midge::Broker> {
        if self.process != std::process::id() {
            return Err(ForkedError::new_err(
                "this broker belongs to the parent process",
            ));
        }
        let inner = self
            .inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        inner
            .clone()
            .ok_or_else(|| StoppedError::new_err("the broker has stopped"))
    }
}

fn qos(value: u8) -> PyResult<QoS> {
    QoS::from_u8(value).ok_or_else(|| PyValueError::new_err("qos: 0, 1 or 2"))
}

fn publish_error(error: PublishError) -> PyErr {
    match error {
        PublishError::Stopped => StoppedError::new_err(error.to_string()),
        PublishError::Refused(_) | PublishError::TooDeep => {
            RefusedError::new_err(error.to_string())
        }
        _ => PyValueError::new_err(error.to_string()),
    }
}

#[pymethods]
impl Broker {
    /// Starts a broker.
    #[new]
    fn new(
        py: Python<'_>,
        listen: Vec<String>,
        options: Vec<(String, String)>,
        manual_clock: bool,
    ) -> PyResult<Self> {
        let mut builder = midge::Broker::builder();
        for (key, value) in &options {
            builder = builder
                .set(key, value)
                .map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        for address in listen {
            builder = builder.listen(address);
        }
        let clock = if manual_clock {
            Clock::Manual
        } else {
            Clock::System
        };
        let broker = py
            .detach(|| builder.clock(clock).start())
            .map_err(|error| start_error(&error))?;
        let (port, url) = (broker.port(), broker.url());
        Ok(Self {
            inner: Mutex::new(Some(broker)),
            process: std::process::id(),
            port,
            url,
        })
    }

    #[getter]
    fn port(&self) -> u16 {
        self.port
    }

    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    #[getter]
    fn stopped(&self) -> bool {
        self.handle().is_err()
    }

    /// Stops it; `drain` seconds for clients to take what waits for them.
    fn stop(&self, py: Python<'_>, drain: f64) -> PyResult<()> {
        if self.process != std::process::id() {
            return Err(ForkedError::new_err(
                "this broker belongs to the parent process",
            ));
        }
        let taken = {
            let mut inner = self
                .inner
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            inner.take()
        };
        let Some(broker) = taken else { return Ok(()) };
        let drain = Duration::try_from_secs_f64(drain)
            .map_err(|_| PyValueError::new_err("timeout: a number of seconds of 0 or more"))?;
        let how = if drain.is_zero() {
            Stop::Now
        } else {
            Stop::Drain(drain)
        };
        py.detach(move || broker.stop(how))
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))
    }

    /// Publishes a message; the number of receivers that matched.
    #[allow(clippy::too_many_arguments)] // what Python passes by position
    #[pyo3(signature = (topic, payload, qos, retain, properties, client_id))]
    fn publish(
        &self,
        py: Python<'_>,
        topic: String,
        payload: Vec<u8>,
        qos: u8,
        retain: bool,
        properties: Option<Properties>,
        client_id: Option<String>,
    ) -> PyResult<usize> {
        let (broker, qos) = (self.handle()?, crate::broker::qos(qos)?);
        let mut message = broker
            .message(topic)
            .payload(Bytes::from(payload))
            .qos(qos)
            .retain(retain);
        if let Some(properties) = properties {
            if let Some(seconds) = properties.message_expiry {
                message = message.message_expiry(Duration::from_secs(seconds.into()));
            }
            if properties.payload_is_utf8 {
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
        }
        if let Some(client_id) = client_id {
            message = message.from_client(client_id);
        }
        let receipt = py.detach(|| message.send()).map_err(publish_error)?;
        Ok(receipt.matched())
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
        let (broker, qos) = (self.handle()?, crate::broker::qos(qos)?);
        let options = midge::SubscribeOptions {
            capacity,
            qos,
            retained,
            ..Default::default()
        };
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        py.detach(|| broker.subscribe_with(&filters, options))
            .map(Subscription::new)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Observes what happens.
    fn events(&self, capacity: usize) -> PyResult<Events> {
        Ok(Events::new(
            self.handle()?.events_with(midge::EventMask::ALL, capacity),
        ))
    }

    /// The retained messages that match a filter.
    fn retained(&self, py: Python<'_>, filter: &str) -> PyResult<Vec<Message>> {
        let broker = self.handle()?;
        Ok(py
            .detach(|| broker.retained(filter))
            .into_iter()
            .map(Message::new)
            .collect())
    }

    fn clear_retained(&self, py: Python<'_>, filter: &str) -> PyResult<usize> {
        let broker = self.handle()?;
        Ok(py.detach(|| broker.clear_retained(filter)))
    }

    /// Connected clients: client identifier, user name, peer, protocol version, subscriptions.
    #[allow(clippy::type_complexity)] // a tuple for Python
    fn clients(
        &self,
        py: Python<'_>,
    ) -> PyResult<Vec<(String, Option<String>, String, String, usize)>> {
        let broker = self.handle()?;
        let clients = py.detach(|| broker.clients());
        let view = |client: midge::ClientView| {
            let version = match client.info.version {
                midge::Version::V31 => "3.1",
                midge::Version::V311 => "3.1.1",
                midge::Version::V5 => "5.0",
            };
            (
                client.info.client_id.to_string(),
                client.info.username.as_deref().map(str::to_owned),
                client.info.peer.to_string(),
                version.to_owned(),
                client.subscriptions,
            )
        };
        Ok(clients.into_iter().map(view).collect())
    }

    /// Sessions: client identifier, connected, messages queued, subscriptions.
    fn sessions(&self, py: Python<'_>) -> PyResult<Vec<(String, bool, usize, usize)>> {
        let broker = self.handle()?;
        let view = |s: midge::SessionView| {
            (
                s.client_id.to_string(),
                s.connected,
                s.queued,
                s.subscriptions,
            )
        };
        Ok(py
            .detach(|| broker.sessions())
            .into_iter()
            .map(view)
            .collect())
    }

    /// Subscriptions: client identifier, filter, QoS.
    fn subscriptions(&self, py: Python<'_>) -> PyResult<Vec<(String, String, u8)>> {
        let broker = self.handle()?;
        let view = |s: midge::SubscriptionView| {
            (
                s.client_id.to_string(),
                s.filter.to_string(),
                s.options.qos as u8,
            )
        };
        Ok(py
            .detach(|| broker.subscriptions(None))
            .into_iter()
            .map(view)
            .collect())
    }

    /// Counters by name.
    fn stats(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, u64)>> {
        let broker = self.handle()?;
        let stats = py.detach(|| broker.stats());
        Ok(vec![
            ("uptime_ms", stats.uptime_ms),
            ("connections", stats.connections),
            ("clients", stats.clients),
            ("sessions", stats.sessions),
            ("subscriptions", stats.subscriptions),
            ("retained", stats.retained),
            ("queued_messages", stats.queued_messages),
            ("queued_bytes", stats.queued_bytes),
            ("publish_received", stats.publish_received),
            ("publish_sent", stats.publish_sent),
            ("bytes_received", stats.bytes_received),
            ("bytes_sent", stats.bytes_sent),
            ("dropped", stats.dropped_total()),
        ])
    }

    /// Disconnects a client; whether it was connected.
    fn disconnect(&self, py: Python<'_>, client_id: &str, reason: u8) -> PyResult<bool> {
        let reason = ReasonCode::from_u8(reason)
            .filter(|reason| reason.is_error())
            .ok_or_else(|| PyValueError::new_err("reason: a reason code of 0x80 or above"))?;
        let broker = self.handle()?;
        Ok(py.detach(|| broker.disconnect(client_id, reason)))
    }

    fn clear_session(&self, py: Python<'_>, client_id: &str) -> PyResult<bool> {
        let broker = self.handle()?;
        Ok(py.detach(|| broker.clear_session(client_id)))
    }

    /// Moves a manual clock by seconds.
    fn advance(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let by = Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("seconds: a number of 0 or more"))?;
        let broker = self.handle()?;
        py.detach(|| broker.clock().advance(by));
        Ok(())
    }

    /// Waits until nothing is queued or in flight; whether it came to rest in time.
    fn settle(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let broker = self.handle()?;
        let rest = wait(py, timeout, |slice| {
            broker.settle(slice).is_ok().then_some(())
        })?;
        Ok(rest.is_some())
    }

    /// A file descriptor of a connected socket that speaks MQTT. The caller owns it.
    fn connect_fd(&self, py: Python<'_>) -> PyResult<i32> {
        use std::os::fd::IntoRawFd;
        let broker = self.handle()?;
        let fd = py
            .detach(|| broker.connect_fd())
            .map_err(|error| PyOSError::new_err(error.to_string()))?;
        Ok(fd.into_raw_fd())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let inner = self
            .inner
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(broker) = inner.take() else { return };
        if self.process == std::process::id() {
            // Its threads never need the interpreter, so that waiting for them here is safe.
            drop(broker);
        } else {
            // The threads belong to the parent: there is nothing to wait for.
            std::mem::forget(broker);
        }
    }
}
