//! The native module `midge._midge`: translation only, all decisions are elsewhere.
//!
//! Rust never calls into Python. Python threads wait here, detached from the interpreter, and look
//! for signals every [`SLICE`].

#![allow(missing_docs)] // its users read `_midge.pyi`

mod broker;
mod queue;

use std::time::{Duration, Instant};

use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::prelude::*;

/// Time between two looks for signals while waiting.
const SLICE: Duration = Duration::from_millis(50);

create_exception!(_midge, StoppedError, PyException, "The broker has stopped.");
create_exception!(
    _midge,
    ForkedError,
    PyException,
    "The broker belongs to the parent process."
);
create_exception!(
    _midge,
    RefusedError,
    PyException,
    "A hook or a limit refused it."
);

/// Waits for something without the interpreter, interruptible by signals. `None` in time means
/// nothing came.
fn wait<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    mut step: impl FnMut(Duration) -> Option<T> + Send,
) -> PyResult<Option<T>> {
    let deadline = match timeout {
        None => None,
        Some(seconds) => {
            let timeout = Duration::try_from_secs_f64(seconds.max(0.0))
                .map_err(|_| PyValueError::new_err("timeout: a number of seconds, or None"))?;
            Instant::now().checked_add(timeout)
        }
    };
    loop {
        let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
        if let Some(value) = py.detach(|| step(left.min(SLICE))) {
            return Ok(Some(value));
        }
        py.check_signals()?;
        if deadline.is_some_and(|at| Instant::now() >= at) {
            return Ok(None);
        }
    }
}

fn start_error(error: &midge::StartError) -> PyErr {
    if let midge::StartError::Bind { source, .. } = error
        && let Some(code) = source.raw_os_error()
    {
        return PyOSError::new_err((code, error.to_string()));
    }
    PyValueError::new_err(error.to_string())
}

/// The one table of options: key, default, accepted values, documentation.
#[pyfunction]
fn options() -> Vec<(&'static str, String, &'static str, &'static str)> {
    let row = |option: &midge::OptionInfo| {
        (
            option.key,
            option.default_value(),
            option.accepted,
            option.doc,
        )
    };
    midge::options().iter().map(row).collect()
}

#[pymodule]
fn _midge(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("StoppedError", py.get_type::<StoppedError>())?;
    module.add("ForkedError", py.get_type::<ForkedError>())?;
    module.add("RefusedError", py.get_type::<RefusedError>())?;
    module.add_class::<broker::Broker>()?;
    module.add_class::<queue::Subscription>()?;
    module.add_class::<queue::Events>()?;
    module.add_class::<queue::Message>()?;
    module.add_function(wrap_pyfunction!(options, module)?)
}
