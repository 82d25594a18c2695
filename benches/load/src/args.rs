//! `--key value` arguments, with suffixes for numbers.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// The options of a run: keys without their dashes, values as text.
#[derive(Debug, Default)]
pub struct Args {
    map: HashMap<String, String>,
}

impl Args {
    /// Reads `--key value`, `--key=value` and `--flag`.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut map = HashMap::new();
        let mut args = args.peekable();
        while let Some(arg) = args.next() {
            let Some(key) = arg.strip_prefix("--") else {
                return Err(Error::new(format!("unexpected argument {arg:?}")));
            };
            if let Some((key, value)) = key.split_once('=') {
                map.insert(key.to_string(), value.to_string());
                continue;
            }
            let value = args.next_if(|next| !next.starts_with("--"));
            map.insert(key.to_string(), value.unwrap_or_else(|| "1".to_string()));
        }
        Ok(Self { map })
    }

    /// The text of an option, if it was given.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.map.get(key).map(String::as_str)
    }

    /// The text of an option or its default.
    pub(crate) fn text_or(&self, key: &str, default: &str) -> String {
        self.text(key).unwrap_or(default).to_string()
    }

    /// A number (`100`, `64k` = 64,000, `64ki` = 65,536, `1m`, `1mi`) or its default.
    pub(crate) fn num(&self, key: &str, default: f64) -> Result<f64> {
        match self.text(key) {
            None => Ok(default),
            Some(text) => {
                number(text).ok_or_else(|| Error::new(format!("--{key}: not a number: {text}")))
            }
        }
    }

    /// A whole number or its default.
    pub(crate) fn int(&self, key: &str, default: u64) -> Result<u64> {
        Ok(self.num(key, default as f64)? as u64)
    }

    /// A count that indexes memory.
    pub(crate) fn count(&self, key: &str, default: usize) -> Result<usize> {
        Ok(self.int(key, default as u64)? as usize)
    }

    /// A quality of service.
    pub(crate) fn qos(&self, default: u8) -> Result<u8> {
        match self.int("qos", u64::from(default))? {
            qos @ 0..=2 => Ok(qos as u8),
            _ => Err(Error::new("--qos 0, 1 or 2")),
        }
    }

    /// True when the flag was given and is not `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.text(key).is_some_and(|value| value != "0")
    }
}

fn number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    for (suffix, factor) in [("ki", 1024.0), ("mi", 1_048_576.0), ("k", 1e3), ("m", 1e6)] {
        if let Some(digits) = lower.strip_suffix(suffix) {
            return digits.parse::<f64>().ok().map(|v| v * factor);
        }
    }
    lower.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::parse(text.split_whitespace().map(str::to_string)).unwrap()
    }

    #[test]
    fn suffixes_flags_and_equal_signs() {
        let a = args("--count 64k --size=4ki --hold --rate 1.5m --off 0");
        assert_eq!(a.int("count", 0).unwrap(), 64_000);
        assert_eq!(a.count("size", 0).unwrap(), 4096);
        assert_eq!(a.num("rate", 0.0).unwrap(), 1.5e6);
        assert!(a.flag("hold") && !a.flag("off") && !a.flag("absent"));
        assert_eq!(a.int("absent", 7).unwrap(), 7);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Args::parse(["p2p".to_string()].into_iter()).is_err());
        assert!(args("--count x").int("count", 1).is_err());
        assert!(args("--qos 3").qos(0).is_err());
    }
}
