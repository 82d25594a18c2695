//! The one table of options.

use midge::{OptionError, OptionKind};
use pyo3::prelude::*;

use crate::errors::ConfigError;

/// One option: key, kind, default, accepted values, documentation.
type Row = (
    &'static str,
    &'static str,
    String,
    &'static str,
    &'static str,
);

/// The one table of options.
#[pyfunction]
pub(crate) fn options() -> Vec<Row> {
    let row = |option: &midge::OptionInfo| {
        let kind = match option.kind {
            OptionKind::Bool => "bool",
            OptionKind::Integer => "int",
            OptionKind::List => "list",
            _ => "str",
        };
        let default = option.default_value();
        (option.key, kind, default, option.accepted, option.doc)
    };
    midge::Settings::options().iter().map(row).collect()
}

fn config_error(error: &OptionError) -> PyErr {
    ConfigError::new_err(error.to_string())
}

/// What a broker is started with, as text by the keys of the table.
#[pyclass(module = "midge._midge")]
#[derive(Default)]
pub struct Settings {
    pub(crate) inner: midge::Settings,
}

#[pymethods]
impl Settings {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn set(&mut self, key: &str, value: &str) -> PyResult<()> {
        self.inner
            .set(key, value)
            .map_err(|error| config_error(&error))
    }

    fn get(&self, key: &str) -> PyResult<String> {
        self.inner.get(key).map_err(|error| config_error(&error))
    }
}
