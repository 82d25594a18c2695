//! The one table of options.

use midge::OptionKind;
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
            _ => "str",
        };
        let default = option.default_value();
        (option.key, kind, default, option.accepted, option.doc)
    };
    midge::options().iter().map(row).collect()
}

/// Raises if there is no such option or it does not take the value.
#[pyfunction]
pub(crate) fn check_option(key: &str, value: &str) -> PyResult<()> {
    set(midge::Broker::builder(), key, value).map(|_| ())
}

pub(crate) fn set(builder: midge::Builder, key: &str, value: &str) -> PyResult<midge::Builder> {
    builder
        .set(key, value)
        .map_err(|error| ConfigError::new_err(error.to_string()))
}
