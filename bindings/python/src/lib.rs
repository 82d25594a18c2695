//! The native module `midge._midge`: translation only, all decisions are elsewhere.
//!
//! Rust never calls into Python. Python threads wait in here, detached from the interpreter; the
//! one that may get signals looks for them every [`SLICE`].

#![forbid(unsafe_code)]
#![allow(missing_docs)] // its users read `_midge.pyi`
#![allow(unreachable_pub)] // `#[pyclass]` wants its types public

mod broker;
mod event;
mod hooks;
mod message;
mod options;
mod queue;
mod wake;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// The exceptions of the package. They are defined in Python, because a class with two bases
/// cannot be made through the stable interface of CPython 3.11.
pub(crate) mod errors {
    pyo3::import_exception!(midge._errors, BindError);
    pyo3::import_exception!(midge._errors, ConfigError);
    pyo3::import_exception!(midge._errors, ForkedError);
    pyo3::import_exception!(midge._errors, InternalError);
    pyo3::import_exception!(midge._errors, RefusedError);
    pyo3::import_exception!(midge._errors, StartError);
    pyo3::import_exception!(midge._errors, StoppedError);
}

/// Time between two looks for signals.
const SLICE: Duration = Duration::from_millis(50);

/// A thread that gets no signals sleeps until there is something: it must not come back to an
/// interpreter that ends meanwhile.
const LONG: Duration = Duration::from_secs(3600);

/// Runs something without the interpreter. A panic becomes an `InternalError`.
pub(crate) fn outside<T: Send>(py: Python<'_>, run: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(run)))
        .map_err(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            errors::InternalError::new_err(text.unwrap_or_else(|| "unknown panic".into()))
        })
}

pub(crate) fn forked() -> PyErr {
    let text = "this broker runs in the parent process; start another one here";
    errors::ForkedError::new_err(text)
}

/// Something of a broker, which belongs to the process that made it. In a forked child it is out
/// of reach, and forgotten instead of dropped: a lock in it may be held by a thread that is gone.
pub(crate) struct Owned<T> {
    value: Option<T>,
    process: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            process: std::process::id(),
        }
    }

    pub(crate) fn get(&self) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.process == std::process::id() => Ok(value),
            _ => Err(forked()),
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

/// A poisoned lock only says that a panic was caught; what it guards is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    static THREADING: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let threading = THREADING
        .get_or_try_init(py, || py.import("threading").map(Bound::unbind))?
        .bind(py);
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    threading.call_method0("get_ident")?.eq(main)
}

/// A number of seconds from Python.
pub(crate) fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!(
            "{name}: a number of seconds, 0 or more, not {value}"
        ))
    })
}

/// Waits for something without the interpreter, interruptible by signals. `None` in time means
/// nothing came. `step` may wait as long as it is told.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let deadline = match timeout {
        None => None,
        Some(f64::INFINITY) => None,
        // A deadline that has passed already is a time to look once.
        Some(past) if past < 0.0 => Some(Instant::now()),
        Some(timeout) => Instant::now().checked_add(seconds("timeout", timeout)?),
    };
    if let Some(value) = outside(py, || step(Duration::ZERO))? {
        return Ok(Some(value));
    }
    let slice = if is_main_thread(py)? { SLICE } else { LONG };
    loop {
        py.check_signals()?;
        let left = deadline.map_or(slice, |at| at.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Ok(None);
        }
        if let Some(value) = outside(py, || step(left.min(slice)))? {
            return Ok(Some(value));
        }
    }
}

/// Whether a topic name matches a filter (section 4.7).
#[pyfunction]
fn topic_matches(filter: &str, topic: &str) -> PyResult<bool> {
    let filter = midge::TopicFilter::new(filter).map_err(|_| {
        PyValueError::new_err(format!("filter: {filter:?} is not a valid topic filter"))
    })?;
    Ok(filter.matches(topic))
}

/// Runs the command `midge`, the name of the program first; gives the exit status.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> PyResult<u8> {
    outside(py, || midge_cli::run(arguments))
}

/// Panics inside the boundary, to test the boundary.
#[pyfunction]
fn _panic(py: Python<'_>) -> PyResult<()> {
    outside(py, || std::panic::panic_any("asked for"))
}

#[pymodule(gil_used = false)]
fn _midge(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<broker::Broker>()?;
    module.add_class::<broker::Receipt>()?;
    module.add_class::<broker::Store>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<hooks::Hooks>()?;
    module.add_class::<hooks::Request>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<message::Properties>()?;
    module.add_class::<queue::Events>()?;
    module.add_class::<queue::Subscription>()?;
    module.add_class::<wake::Wake>()?;
    module.add_function(wrap_pyfunction!(options::options, module)?)?;
    module.add_function(wrap_pyfunction!(options::check_option, module)?)?;
    module.add_function(wrap_pyfunction!(broker::start, module)?)?;
    module.add_function(wrap_pyfunction!(topic_matches, module)?)?;
    module.add_function(wrap_pyfunction!(command, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)
}
