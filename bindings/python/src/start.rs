//! The start of a broker, and what outlives a restart.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use midge::{Handover, StartError};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::broker::{Broker, subscribe_options, watched_kinds};
use crate::event::mask;
use crate::hooks::{Bridge, Hooks};
use crate::message::qos;
use crate::options::Settings;
use crate::questions::{ASKED_LIMIT_MS, CLOSING_MS};
use crate::queue::{Events, Subscription};
use crate::{errors, outside};

/// Sessions and retained messages that outlive a restart.
#[pyclass(frozen, module = "midge._midge")]
pub struct Kept {
    inner: Arc<Handover>,
}

#[pymethods]
impl Kept {
    #[new]
    fn new() -> Self {
        Self {
            inner: Handover::new(),
        }
    }
}

fn start_error(error: &StartError) -> PyErr {
    match error {
        StartError::Address { .. } | StartError::LeftOut { .. } | StartError::Option(_) => {
            errors::ConfigError::new_err(error.to_string())
        }
        StartError::Bind { address, source } => bind_error(address, source),
        error => errors::StartError::new_err(error.to_string()),
    }
}

/// As Python has it: the number, the text without the number, the address.
fn bind_error(address: &str, source: &io::Error) -> PyErr {
    let inner = source.get_ref().and_then(|inner| inner.source());
    let inner = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
    let number = (source.raw_os_error()).or_else(|| inner.and_then(io::Error::raw_os_error));

    let mut text = source.to_string();
    if let Some(number) = number {
        text = text.replace(&format!(" (os error {number})"), "");
    }
    errors::BindError::new_err((number, text, address.to_owned()))
}

/// What the program subscribed to before a restart: filters, QoS, capacity.
type Again = (Vec<String>, u8, usize);

/// What it watched: names of events, capacity.
type WatchAgain = (Vec<String>, usize);

/// Starts a broker. The events of the kinds in `record` are recorded from the first client on, and
/// what is subscribed to and watched `again` misses nothing, either.
#[pyfunction]
#[allow(clippy::too_many_arguments)] // what Python passes by position
pub(crate) fn start(
    py: Python<'_>,
    settings: PyRef<'_, Settings>,
    listen: Vec<String>,
    record: (Vec<String>, usize, usize),
    hooks: Option<&Hooks>,
    kept: &Kept,
    subscribed: Vec<Again>,
    watched: Vec<WatchAgain>,
) -> PyResult<(Broker, Events, Vec<Subscription>, Vec<Events>)> {
    let mut settings = settings.inner.clone();
    let mut bridges = Vec::new();
    if let Some(hooks) = hooks {
        let config = settings.config_mut();
        // What a question waits for its turn is not the hook's time.
        let timeout = std::mem::replace(&mut config.hooks.timeout_ms, ASKED_LIMIT_MS);
        let timeout = Duration::from_millis(timeout);
        // `Hooks::close_within` ends the patience with them first.
        let patience = &mut config.shutdown.patience_ms;
        *patience = (*patience + CLOSING_MS).min(ASKED_LIMIT_MS);

        hooks.questions.set_limit(timeout);
        bridges.extend(hooks.sets.iter().enumerate().map(|(place, set)| Bridge {
            questions: hooks.questions.clone(),
            place,
            set: *set,
            timeout,
            shared_v3: config.mqtt.shared_v3,
        }));
    }

    let mut builder = midge::Broker::builder()
        .settings(settings)
        .handover(kept.inner.clone());
    for address in listen {
        builder = builder.listen(address);
    }
    for bridge in bridges {
        builder = builder.hooks(bridge);
    }

    let (kinds, capacity, bytes) = record;
    let kinds = mask(&kinds)?;
    let watched: Vec<_> = (watched.iter())
        .map(|(names, capacity)| Ok((watched_kinds(names)?, *capacity)))
        .collect::<PyResult<_>>()?;
    let subscribed: Vec<_> = (subscribed.into_iter())
        .map(|(filters, level, capacity)| Ok((filters, qos(level)?, capacity)))
        .collect::<PyResult<_>>()?;
    let first = move |broker: &midge::Broker| {
        let again = |(filters, qos, capacity): &(Vec<String>, midge::QoS, usize)| {
            let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
            // What is retained was seen before.
            broker.subscribe_with(&filters, subscribe_options(*qos, *capacity, false))
        };
        let subscriptions: Result<Vec<_>, _> = subscribed.iter().map(again).collect();
        let watches: Vec<_> = (watched.into_iter())
            .map(|(kinds, capacity)| broker.events_with(kinds, capacity))
            .collect();
        let recorded = broker.events_bounded(kinds, capacity, bytes);
        (recorded, subscriptions, watches)
    };

    let (broker, (recorded, subscriptions, watches)) =
        outside(py, || builder.start_with(first))?.map_err(|error| start_error(&error))?;
    let broker = Broker::new(broker, hooks.is_some());

    let subscriptions = subscriptions
        .map_err(|error| PyValueError::new_err(format!("filter: {error}")))?
        .into_iter();

    Ok((
        broker,
        Events::new(recorded),
        subscriptions.map(Subscription::new).collect(),
        watches.into_iter().map(Events::new).collect(),
    ))
}
