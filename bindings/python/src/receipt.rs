//! What became of a message that was published.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::wait;

/// What became of a message that was published.
#[pyclass(frozen, module = "midge")]
pub struct Receipt {
    pub(crate) inner: midge::Receipt,
}

#[pymethods]
impl Receipt {
    /// Receivers that matched: sessions, one member of each shared group, subscriptions of this
    /// program.
    #[getter]
    fn matched(&self) -> usize {
        self.inner.matched()
    }

    /// What each session did, by client identifier: `sent`, `queued` or why not.
    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let outcomes = PyDict::new(py);
        for (client_id, outcome) in self.inner.outcomes() {
            outcomes.set_item(&**client_id, outcome.name())?;
        }
        Ok(outcomes)
    }

    /// The sessions that did not take it, and why.
    #[getter]
    fn dropped<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dropped = PyDict::new(py);
        for (client_id, reason) in self.inner.dropped() {
            dropped.set_item(client_id, reason.name())?;
        }
        Ok(dropped)
    }

    /// Whether every receiver at QoS 1 or 2 is done with it.
    #[getter]
    fn acknowledged(&self) -> bool {
        self.inner.is_acknowledged()
    }

    /// Waits until every receiver is done with it; `False` after `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn wait_acknowledged(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let done = wait(py, timeout, |time| {
            self.inner.wait_acknowledged(time).then_some(())
        })?;
        Ok(done.is_some())
    }

    fn __repr__(&self) -> String {
        let Self { inner } = self;
        let dropped = inner.dropped().count();
        format!("<Receipt matched={} dropped={dropped}>", inner.matched())
    }
}
