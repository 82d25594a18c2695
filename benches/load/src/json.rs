//! One flat JSON object: what a run reports.

use serde_json::{Map, Number, Value};

/// A flat object under construction; keys stay in the order in which they came.
pub(crate) struct Json(Map<String, Value>);

impl Json {
    pub(crate) fn new() -> Self {
        Self(Map::new())
    }

    fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// A text.
    pub(crate) fn s(&mut self, key: &str, value: &str) -> &mut Self {
        self.set(key, value)
    }

    /// A whole number.
    pub(crate) fn u(&mut self, key: &str, value: u64) -> &mut Self {
        self.set(key, value)
    }

    /// A number, with no more digits than mean something; `null` when there is none.
    pub(crate) fn f(&mut self, key: &str, value: f64) -> &mut Self {
        let rounded = match value.abs() {
            a if a >= 1000.0 => value.round(),
            a if a >= 1.0 => (value * 1e3).round() / 1e3,
            _ => (value * 1e6).round() / 1e6,
        };
        self.set(
            key,
            Number::from_f64(rounded).map_or(Value::Null, Value::Number),
        )
    }

    /// The finished object.
    pub(crate) fn done(self) -> String {
        Value::Object(self.0).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_keys_stay_in_order() {
        let mut j = Json::new();
        j.s("b", "x\"\\\n")
            .u("a", 3)
            .f("c", 1234.5678)
            .f("d", 0.12345678)
            .f("e", f64::NAN);
        assert_eq!(
            j.done(),
            r#"{"b":"x\"\\\n","a":3,"c":1235.0,"d":0.123457,"e":null}"#
        );
    }
}
