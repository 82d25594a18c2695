//! A message of the host with all its properties.

use std::time::Duration;

use bytes::Bytes;
use midge_codec::{Property, QoS};
use midge_core::{OwnedMessage, PublishError, Receipt, SendError};

use super::broker::Broker;

/// A message to be sent, made by [`Broker::message`]. What is set twice is what was set last, but for
/// user properties, of which there may be several.
#[derive(Debug)]
#[must_use]
pub struct Outgoing<'a> {
    broker: &'a Broker,
    message: OwnedMessage,
    client_id: Option<String>,
    error: Option<PublishError>,
}

impl Broker {
    /// A message with all its properties, to be sent.
    pub fn message(&self, topic: impl Into<String>) -> Outgoing<'_> {
        Outgoing::new(self, topic.into())
    }
}

impl<'a> Outgoing<'a> {
    fn new(broker: &'a Broker, topic: String) -> Self {
        Self {
            broker,
            message: OwnedMessage::new(topic, Bytes::new()),
            client_id: None,
            error: None,
        }
    }

    /// Sets the payload; empty by default.
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.message.payload = payload.into();
        self
    }

    /// Sets the QoS; 0 by default.
    pub fn qos(mut self, qos: QoS) -> Self {
        self.message.qos = qos;
        self
    }

    /// Sets the RETAIN flag.
    pub fn retain(mut self, retain: bool) -> Self {
        self.message.retain = retain;
        self
    }

    /// Sets the message expiry interval, in whole seconds, rounded up; at most `u32::MAX` of them.
    pub fn message_expiry(mut self, after: Duration) -> Self {
        let seconds = (after.as_secs()).saturating_add(u64::from(after.subsec_nanos() > 0));
        self.message.expiry = Some(u32::try_from(seconds).unwrap_or(u32::MAX));
        self
    }

    fn property(mut self, property: Property<'_>, what: &'static str) -> Self {
        if self.message.properties.set(property).is_err() {
            self.error = Some(PublishError::InvalidProperty(what));
        }
        self
    }

    /// Adds a user property; their order is kept.
    pub fn user_property(self, name: &str, value: &str) -> Self {
        self.property(
            Property::UserProperty(name, value),
            "a user property is not valid",
        )
    }

    /// Sets the content type.
    pub fn content_type(self, content_type: &str) -> Self {
        self.property(
            Property::ContentType(content_type),
            "the content type is not valid",
        )
    }

    /// Sets the response topic.
    pub fn response_topic(self, topic: &str) -> Self {
        self.property(
            Property::ResponseTopic(topic),
            "the response topic is not valid",
        )
    }

    /// Sets the correlation data.
    pub fn correlation_data(self, data: &[u8]) -> Self {
        self.property(
            Property::CorrelationData(data),
            "the correlation data is too long",
        )
    }

    /// Marks the payload as UTF-8.
    pub fn payload_format_utf8(self) -> Self {
        self.property(
            Property::PayloadFormatIndicator(1),
            "the payload format is not valid",
        )
    }

    /// Publishes in the name of a client: with its origin, and its authorization.
    pub fn from_client(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Publishes it.
    ///
    /// # Errors
    /// As [`Broker::publish`], and a property that is not valid.
    pub fn send(self) -> Result<Receipt, PublishError> {
        match self.error {
            Some(error) => Err(error),
            None => self.broker.send(&self.message, self.client_id.as_deref()),
        }
    }

    /// Hands it to one session, whatever that has subscribed to.
    ///
    /// # Errors
    /// As [`Outgoing::send`], and a client identifier without session.
    pub fn send_to(self, client_id: &str) -> Result<Receipt, SendError> {
        match self.error {
            Some(error) => Err(SendError::Publish(error)),
            None => self.broker.send_to(client_id, &self.message),
        }
    }
}
