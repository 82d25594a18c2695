//! Messages and their properties as Python sees them.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use midge::{MessageRef, PropertiesBuf, Property};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

/// MQTT 5 properties of a message.
#[pyclass(frozen, eq, module = "midge", from_py_object)]
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Properties {
    /// What the payload is, such as `application/json`.
    #[pyo3(get)]
    pub(crate) content_type: Option<String>,
    /// Where an answer is expected.
    #[pyo3(get)]
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation_data: Option<Vec<u8>>,
    /// Seconds that are left of the message's life.
    #[pyo3(get)]
    pub(crate) message_expiry: Option<u32>,
    /// Whether the payload is marked as UTF-8 text.
    #[pyo3(get)]
    pub(crate) utf8: bool,
    pub(crate) user: Vec<(String, String)>,
}

#[pymethods]
impl Properties {
    #[new]
    #[pyo3(signature = (*, content_type=None, response_topic=None, correlation_data=None, message_expiry=None, utf8=false, user=None))]
    fn new(
        content_type: Option<String>,
        response_topic: Option<String>,
        correlation_data: Option<Vec<u8>>,
        message_expiry: Option<u32>,
        utf8: bool,
        user: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let pair = |item: PyResult<Bound<'_, PyAny>>| item?.extract::<(String, String)>();
        let user = match user {
            None => Vec::new(),
            Some(pairs) => {
                let pairs = match pairs.cast::<PyDict>() {
                    Ok(mapping) => mapping.items().into_any(),
                    Err(_) => pairs.clone(),
                };
                let pairs = pairs
                    .try_iter()
                    .and_then(|pairs| pairs.map(pair).collect::<PyResult<_>>());
                pairs.map_err(|_| {
                    PyTypeError::new_err("user: a mapping of str to str, or pairs of str")
                })?
            }
        };

        let properties = Self {
            content_type,
            response_topic,
            correlation_data,
            message_expiry,
            utf8,
            user,
        };

        properties.block()?;
        Ok(properties)
    }

    /// For matching an answer with its request.
    #[getter]
    fn correlation_data<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.correlation_data
            .as_ref()
            .map(|data| PyBytes::new(py, data))
    }

    /// User properties, pairs of name and value, in order.
    #[getter]
    fn user<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.user)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut parts = Vec::new();
        for (name, value) in self.keywords(py)?.iter() {
            parts.push(format!("{name}={}", value.repr()?));
        }
        Ok(format!("Properties({})", parts.join(", ")))
    }

    fn __bool__(&self) -> bool {
        *self != Self::default()
    }

    fn __hash__(&self) -> u64 {
        hash_of(self)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let partial = py.import("functools")?.getattr("partial")?;
        let make = partial.call((py.get_type::<Self>(),), Some(&self.keywords(py)?))?;
        (make, PyTuple::empty(py)).into_pyobject(py)
    }
}

impl Properties {
    /// Those that are set, as keyword arguments.
    fn keywords<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let keywords = PyDict::new(py);
        if let Some(text) = &self.content_type {
            keywords.set_item("content_type", text)?;
        }
        if let Some(topic) = &self.response_topic {
            keywords.set_item("response_topic", topic)?;
        }
        if let Some(data) = &self.correlation_data {
            keywords.set_item("correlation_data", PyBytes::new(py, data))?;
        }
        if let Some(seconds) = self.message_expiry {
            keywords.set_item("message_expiry", seconds)?;
        }
        if self.utf8 {
            keywords.set_item("utf8", true)?;
        }
        if !self.user.is_empty() {
            keywords.set_item("user", self.user(py)?)?;
        }

        Ok(keywords)
    }

    pub(crate) fn read(properties: midge::Properties<'_>, message_expiry: Option<u32>) -> Self {
        let mut read = Self {
            message_expiry,
            ..Self::default()
        };
        for property in properties.iter() {
            match property {
                Property::ContentType(text) => read.content_type = Some(text.to_owned()),
                Property::ResponseTopic(topic) => read.response_topic = Some(topic.to_owned()),
                Property::CorrelationData(data) => read.correlation_data = Some(data.to_vec()),
                Property::PayloadFormatIndicator(format) => read.utf8 = format == 1,
                Property::UserProperty(name, value) => {
                    read.user.push((name.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        read
    }

    /// All but the expiry, encoded.
    pub(crate) fn block(&self) -> PyResult<PropertiesBuf> {
        let mut block = PropertiesBuf::new();
        let mut push = |property: Property<'_>, name: &str| {
            block
                .push(property)
                .map_err(|error| PyValueError::new_err(format!("{name}: {error}")))
        };

        if self.utf8 {
            push(Property::PayloadFormatIndicator(1), "utf8")?;
        }
        if let Some(text) = &self.content_type {
            push(Property::ContentType(text), "content_type")?;
        }
        if let Some(topic) = &self.response_topic {
            push(Property::ResponseTopic(topic), "response_topic")?;
        }
        if let Some(data) = &self.correlation_data {
            push(Property::CorrelationData(data), "correlation_data")?;
        }
        for (name, value) in &self.user {
            push(Property::UserProperty(name, value), "user")?;
        }

        Ok(block)
    }
}

/// Bytes of a payload that is copied for Python once. A longer copy lives as long as it is
/// used, so that a log of large messages does not hold each of them twice.
const COPIED_ONCE: usize = 4096;

/// A message. Its payload becomes `bytes` when it is asked for.
#[pyclass(frozen, module = "midge")]
pub struct Message {
    /// Topic name.
    #[pyo3(get)]
    topic: String,
    payload: Bytes,
    /// QoS, 0 to 2.
    #[pyo3(get)]
    qos: u8,
    /// Whether it is retained, or was published to be.
    #[pyo3(get)]
    retain: bool,
    /// The client that published it; `None` for this program.
    #[pyo3(get)]
    client_id: Option<String>,
    properties: Option<Box<Properties>>,
    /// Seconds since the broker's start, for messages of the log.
    #[pyo3(get)]
    timestamp: f64,
    bytes: PyOnceLock<Py<PyBytes>>,
}

impl Message {
    pub(crate) fn received(message: &midge::Message) -> Self {
        Self::make(
            message.topic(),
            message.payload_bytes(),
            (
                message.qos() as u8,
                message.retain() || message.published_retained(),
            ),
            message.origin().client_id(),
            Properties::read(message.properties(), message.message_expiry()),
            0.0,
        )
    }

    pub(crate) fn seen(message: &MessageRef<'_>, client_id: Option<&str>, timestamp: f64) -> Self {
        let payload = match message.backing {
            Some(bytes) => bytes.slice_ref(message.payload),
            None => Bytes::copy_from_slice(message.payload),
        };
        let mut block = Vec::new();
        message.properties.append_block(&mut block);
        let properties = midge::Properties::from_block(&block);
        Self::make(
            message.topic,
            payload,
            (message.qos as u8, message.retain),
            client_id,
            Properties::read(properties, message.expiry),
            timestamp,
        )
    }

    fn make(
        topic: &str,
        payload: Bytes,
        (qos, retain): (u8, bool),
        client_id: Option<&str>,
        properties: Properties,
        timestamp: f64,
    ) -> Self {
        Self {
            topic: topic.to_owned(),
            payload,
            qos,
            retain,
            client_id: client_id.map(str::to_owned),
            properties: properties.__bool__().then(|| Box::new(properties)),
            timestamp,
            bytes: PyOnceLock::new(),
        }
    }

    /// The message for publishing it.
    pub(crate) fn owned(&self) -> PyResult<midge::OwnedMessage> {
        let mut owned = midge::OwnedMessage::new(self.topic.clone(), self.payload.clone());
        owned.qos = qos(self.qos)?;
        owned.retain = self.retain;
        if let Some(properties) = &self.properties {
            owned.expiry = properties.message_expiry;
            owned.properties = properties.block()?;
        }
        Ok(owned)
    }

    fn key(&self) -> impl Hash + PartialEq + '_ {
        (
            &self.topic,
            &self.payload,
            self.qos,
            self.retain,
            &self.client_id,
            &self.properties,
        )
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The payload of a message: `bytes` or `str`. Other buffers are made into `bytes` in Python.
pub(crate) fn payload(value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    payload_bytes(value).map(Bytes::copy_from_slice)
}

/// The bytes of a payload, which stays as it is while there is a reference.
pub(crate) fn payload_bytes<'a>(value: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.as_bytes());
    }
    Err(PyTypeError::new_err("payload: bytes, str or a buffer"))
}

pub(crate) fn qos(value: u8) -> PyResult<midge::QoS> {
    midge::QoS::from_u8(value)
        .ok_or_else(|| PyValueError::new_err(format!("qos: 0, 1 or 2, not {value}")))
}

#[pymethods]
impl Message {
    #[classattr]
    fn __match_args__() -> (&'static str, &'static str) {
        ("topic", "payload")
    }

    #[new]
    #[pyo3(signature = (topic, payload=None, *, qos=0, retain=false, client_id=None, properties=None, timestamp=0.0))]
    fn new(
        topic: String,
        payload: Option<&Bound<'_, PyAny>>,
        qos: u8,
        retain: bool,
        client_id: Option<String>,
        properties: Option<Properties>,
        timestamp: f64,
    ) -> PyResult<Self> {
        let payload = payload.map(self::payload).transpose()?.unwrap_or_default();
        let flags = (self::qos(qos)? as u8, retain);
        let properties = properties.unwrap_or_default();
        let client_id = client_id.as_deref();
        Ok(Self::make(
            &topic, payload, flags, client_id, properties, timestamp,
        ))
    }

    /// The payload, copied when it is asked for; a short one once. `memoryview(message)` needs no
    /// copy.
    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let copy = || PyBytes::new(py, &self.payload);
        if self.payload.len() > COPIED_ONCE {
            return copy();
        }
        self.bytes
            .get_or_init(py, || copy().unbind())
            .bind(py)
            .clone()
    }

    /// Whether the payload is equal to bytes, without a copy.
    fn has_payload(&self, payload: &[u8]) -> bool {
        *self.payload == *payload
    }

    /// MQTT 5 properties.
    #[getter]
    fn properties(&self) -> Properties {
        self.properties.as_deref().cloned().unwrap_or_default()
    }

    /// Shows the payload to `memoryview` and its like, without a copy.
    ///
    /// # Safety
    /// Python calls it with a view to fill in.
    #[allow(unsafe_code)]
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut pyo3::ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        let payload = &slf.get().payload;
        let length = isize::try_from(payload.len())
            .map_err(|_| PyBufferError::new_err("the payload is too long"))?;
        let start = payload.as_ptr().cast_mut().cast();
        // SAFETY: the view takes a reference to the message, which never changes its payload; it is
        // filled in as read-only.
        let done =
            unsafe { pyo3::ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, 1, flags) };
        if done == -1 {
            return Err(PyErr::fetch(slf.py()));
        }
        Ok(())
    }

    /// The payload as UTF-8 text.
    #[getter]
    fn text<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Python's own decoder, for its error that names the byte.
        self.payload(py).call_method0("decode")
    }

    /// The payload as JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?
            .call_method1("loads", (self.payload(py),))
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.payload(py)
    }

    fn __len__(&self) -> usize {
        self.payload.len()
    }

    fn __bool__(&self) -> bool {
        true
    }

    fn __eq__(&self, other: &Self) -> bool {
        self.key() == other.key()
    }

    fn __hash__(&self) -> u64 {
        hash_of(&self.key())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let mut text = PyString::new(py, &self.topic).repr()?.to_string();
        text.push_str(", ");

        // Enough to recognize it; a test's output must stay readable.
        if self.payload.len() <= 200 {
            text.push_str(&self.payload(py).repr()?.to_string());
        } else {
            let start = self.payload.get(..100).unwrap_or_default();
            let shown = PyBytes::new(py, start).repr()?;
            text.push_str(&format!("{shown}... ({} bytes)", self.payload.len()));
        }

        if self.qos > 0 {
            text.push_str(&format!(", qos={}", self.qos));
        }
        if self.retain {
            text.push_str(", retain=True");
        }

        if let Some(client_id) = &self.client_id {
            text.push_str(&format!(
                ", client_id={}",
                PyString::new(py, client_id).repr()?
            ));
        }

        if let Some(properties) = &self.properties {
            text.push_str(&format!(", properties={}", properties.__repr__(py)?));
        }

        Ok(format!("Message({text})"))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let keywords = PyDict::new(py);
        keywords.set_item("qos", self.qos)?;
        keywords.set_item("retain", self.retain)?;
        keywords.set_item("client_id", &self.client_id)?;
        keywords.set_item("properties", self.properties())?;
        keywords.set_item("timestamp", self.timestamp)?;
        let partial = py.import("functools")?.getattr("partial")?;
        let make = partial.call((py.get_type::<Self>(),), Some(&keywords))?;
        (make, (&self.topic, self.payload(py))).into_pyobject(py)
    }
}
