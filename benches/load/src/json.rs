//! One flat JSON object, written by hand: no dependency is worth its build time here.

use std::fmt::Write as _;

/// A flat object under construction.
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        // Writing to a String does not fail.
        let _ = write!(self.0, "\"{key}\":");
    }

    /// A text.
    pub(crate) fn s(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                c if c < ' ' => {
                    let _ = write!(self.0, "\\u{:04x}", u32::from(c));
                }
                c => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// A whole number.
    pub(crate) fn u(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// A number, with no more digits than mean something; `null` when there is none.
    pub(crate) fn f(&mut self, key: &str, value: f64) -> &mut Self {
        self.key(key);
        let _ = match value.abs() {
            a if !a.is_finite() => write!(self.0, "null"),
            a if a >= 1000.0 => write!(self.0, "{value:.0}"),
            a if a >= 1.0 => write!(self.0, "{value:.3}"),
            _ => write!(self.0, "{value:.6}"),
        };
        self
    }

    /// The finished object.
    pub(crate) fn done(&self) -> String {
        format!("{}}}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_rounds() {
        let mut j = Json::new();
        j.s("a", "x\"\\\n")
            .u("b", 3)
            .f("c", 1234.5678)
            .f("d", 0.25)
            .f("e", f64::NAN);
        assert_eq!(
            j.done(),
            r#"{"a":"x\"\\\u000a","b":3,"c":1235,"d":0.250000,"e":null}"#
        );
    }
}
