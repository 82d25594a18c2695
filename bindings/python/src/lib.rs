//! The native module `midge._midge`: translation only, all decisions are elsewhere.
//!
//! Rust never calls into Python. Python threads wait in here, detached from the interpreter; the
//! one that may get signals looks for them every [`SLICE`].

#![deny(unsafe_code)] // but where a block says why

mod broker;
mod descriptor;
mod event;
mod hooks;
mod message;
mod options;
mod questions;
mod queue;
mod receipt;
mod start;
mod wake;

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

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

    /// Imports all of them: while the interpreter ends nothing can be imported any more, and a
    /// broker may be stopped just then.
    pub(crate) fn import(py: pyo3::Python<'_>) {
        use pyo3::PyTypeInfo;
        macro_rules! touch {
            ($($name:ident),*) => { $($name::type_object(py);)* };
        }
        touch!(
            BindError,
            ConfigError,
            ForkedError,
            InternalError,
            RefusedError
        );
        touch!(StartError, StoppedError);
    }
}

/// Time between two looks for signals.
const SLICE: Duration = Duration::from_millis(50);

/// A thread that gets no signals sleeps until there is something: it must not come back to an
/// interpreter that ends meanwhile.
const LONG: Duration = Duration::from_secs(3600);

/// Runs something without the interpreter. A panic becomes an `InternalError`.
pub(crate) fn outside<T: Send>(py: Python<'_>, run: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| catch_unwind(AssertUnwindSafe(run)))
        .map_err(|panic| internal_error(&*panic))
}

/// Runs something that waits for nothing. A panic becomes an `InternalError`.
pub(crate) fn inside<T>(run: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| internal_error(&*panic))
}

fn internal_error(panic: &(dyn Any + Send)) -> PyErr {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    errors::InternalError::new_err(text.unwrap_or_else(|| "unknown panic".into()))
}

/// Grows in each forked child. Asking the system for the process would cost more than a publish.
static GENERATION: AtomicU32 = AtomicU32::new(0);

pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Python calls it first of all in a forked child.
#[pyfunction]
fn _forked() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn forked() -> PyErr {
    let text = "this broker runs in the parent process; start another one here";
    errors::ForkedError::new_err(text)
}

/// Something of a broker, which belongs to the process that made it. In a forked child it is out
/// of reach, and forgotten instead of dropped: a lock in it may be held by a thread that is gone.
pub(crate) struct Owned<T> {
    value: Option<T>,
    generation: u32,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Some(value),
            generation: generation(),
        }
    }

    pub(crate) fn get(&self) -> PyResult<&T> {
        match &self.value {
            Some(value) if self.generation == generation() => Ok(value),
            _ => Err(forked()),
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            std::mem::forget(self.value.take());
        }
    }
}

/// A poisoned lock only says that a panic was caught; what it guards is valid between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        // In a forked child the answer may be another one.
        static KNOWN: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }
    if let Some((at, known)) = KNOWN.get()
        && at == generation()
    {
        return Ok(known);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let is_main = threading.call_method0("get_ident")?.eq(main)?;
    KNOWN.set(Some((generation(), is_main)));
    Ok(is_main)
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

    let slice = if is_main_thread(py)? { SLICE } else { LONG };
    let left = || deadline.map_or(slice, |at| at.saturating_duration_since(Instant::now()));
    loop {
        let time = left().min(slice);
        if let Some(value) = outside(py, || step(time))? {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if left().is_zero() {
            return Ok(None);
        }
    }
}

/// A valid topic filter (sections 4.7.1 and 4.8.2).
pub(crate) fn topic_filter(filter: &str) -> PyResult<midge::TopicFilter<'_>> {
    midge::TopicFilter::new(filter).map_err(|error| {
        let text = format!("filter: {filter:?} is not a valid topic filter ({error})");
        PyValueError::new_err(text)
    })
}

/// Whether there may be a topic that two filters both match (sections 4.7.1 and 4.7.2).
#[pyfunction]
fn filters_overlap(one: &str, other: &str) -> PyResult<bool> {
    Ok(topic_filter(one)?.overlaps(&topic_filter(other)?))
}

/// Raises if a text is not a valid topic filter.
#[pyfunction]
fn check_filter(filter: &str) -> PyResult<()> {
    topic_filter(filter).map(|_| ())
}

/// Whether a topic name matches a filter (section 4.7).
#[pyfunction]
fn topic_matches(filter: &str, topic: &str) -> PyResult<bool> {
    Ok(topic_filter(filter)?.matches(topic))
}

/// Raises in an interpreter that is not the main one: what a broker keeps is of the process, and
/// CPython does not initialize the module once more.
#[pyfunction]
#[allow(unsafe_code)]
fn _check_interpreter() -> PyResult<()> {
    // SAFETY: the caller is attached to an interpreter, whose state the first call gives; the second
    // one reads its number.
    let id = unsafe { pyo3::ffi::PyInterpreterState_GetID(pyo3::ffi::PyInterpreterState_Get()) };
    if id == 0 {
        return Ok(());
    }
    let text = "midge runs in the main interpreter only, not in subinterpreters";
    Err(pyo3::exceptions::PyImportError::new_err(text))
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
    errors::import(module.py());

    let os = module.py().import("os")?;
    if os.hasattr("register_at_fork")? {
        let keywords = PyDict::new(module.py());
        keywords.set_item("after_in_child", wrap_pyfunction!(_forked, module)?)?;
        os.call_method("register_at_fork", (), Some(&keywords))?;
    }

    module.add_class::<broker::Broker>()?;
    module.add_class::<receipt::Receipt>()?;
    module.add_class::<start::Kept>()?;
    module.add_class::<event::Event>()?;
    module.add_class::<hooks::Hooks>()?;
    module.add_class::<hooks::Request>()?;
    module.add_class::<message::Message>()?;
    module.add_class::<message::Properties>()?;
    module.add_class::<options::Settings>()?;
    module.add_class::<queue::Events>()?;
    module.add_class::<queue::Subscription>()?;
    module.add_class::<wake::Wake>()?;
    module.add_function(wrap_pyfunction!(options::options, module)?)?;
    module.add_function(wrap_pyfunction!(event::event_names, module)?)?;
    module.add_function(wrap_pyfunction!(start::start, module)?)?;
    module.add_function(wrap_pyfunction!(check_filter, module)?)?;
    module.add_function(wrap_pyfunction!(topic_matches, module)?)?;
    module.add_function(wrap_pyfunction!(filters_overlap, module)?)?;
    module.add_function(wrap_pyfunction!(command, module)?)?;
    module.add_function(wrap_pyfunction!(_check_interpreter, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)
}
