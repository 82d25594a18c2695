//! `--key value` arguments, with suffixes for numbers.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Options with a value.
const VALUES: [&str; 28] = [
    "chunk", "cmd", "conc", "conns", "count", "duration", "filter", "host", "kind", "label",
    "minbatch", "mode", "password", "payload", "pid", "port", "prefix", "pubs", "qos", "rate",
    "rounds", "runs", "size", "subs", "user", "ver", "warmup", "window",
];
/// Options that are given or not.
const FLAGS: [&str; 3] = ["hold", "spin", "sub"];

/// The options of a run: keys without their dashes, values as text.
#[derive(Debug, Default)]
pub struct Args {
    map: HashMap<String, String>,
}

impl Args {
    /// Reads `--key value`, `--key=value` and `--flag`; an option that there is not is an error.
    pub fn parse(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut map = HashMap::new();
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser
            .next()
            .map_err(|error| Error::new(error.to_string()))?
        {
            let lexopt::Arg::Long(key) = arg else {
                return Err(Error::new(arg.unexpected().to_string()));
            };
            let key = key.to_owned();
            let value = if FLAGS.contains(&key.as_str()) {
                "1".into()
            } else if VALUES.contains(&key.as_str()) {
                parser
                    .value()
                    .map_err(|error| Error::new(error.to_string()))?
            } else {
                return Err(Error::new(format!("no option --{key}")));
            };
            map.insert(key, value.to_string_lossy().into_owned());
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

    /// Whether the flag was given.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.map.contains_key(key)
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
        let a = args("--count 64k --size=4ki --hold --rate 1.5m");
        assert_eq!(a.int("count", 0).unwrap(), 64_000);
        assert_eq!(a.count("size", 0).unwrap(), 4096);
        assert_eq!(a.num("rate", 0.0).unwrap(), 1.5e6);
        assert!(a.flag("hold") && !a.flag("spin"));
        assert_eq!(a.int("runs", 7).unwrap(), 7);
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["p2p", "--pups 3", "--count", "-c 3"] {
            let words = text.split_whitespace().map(str::to_string);
            assert!(Args::parse(words).is_err(), "{text}");
        }
        assert!(args("--count x").int("count", 1).is_err());
        assert!(args("--qos 3").qos(0).is_err());
    }
}
