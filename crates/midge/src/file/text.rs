//! What a text in TOML sets.

use midge_core::OptionKind;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::What;
use crate::settings::{Settings, find};

impl Settings {
    /// Sets what a text in TOML says. An error has the place in the text.
    pub(super) fn read(&mut self, text: &str) -> Result<(), (usize, What)> {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            (at, What::Wrong(error.message().to_owned()))
        })?;
        let mut entries = Vec::new();
        flatten("", table.get_ref(), &mut entries);

        // Single limits change what the preset has set. The first mistake of the file is told.
        entries.sort_by_key(|(key, value)| (key != "limits.preset", value.span().start));
        entries
            .iter()
            .try_for_each(|(key, value)| self.set_entry(key, value))
    }

    fn set_entry(&mut self, key: &str, value: &Entry<'_>) -> Result<(), (usize, What)> {
        let at = |entry: &Entry<'_>| entry.span().start;
        let option = find(key).map_err(|error| (at(value), What::Option(error)))?;

        let single = std::slice::from_ref(value);
        let values = match value.get_ref() {
            DeValue::Array(values) if option.kind == OptionKind::List => values,
            _ => single,
        };
        for value in values {
            let text = scalar(value.get_ref());
            let text = text.ok_or_else(|| {
                (
                    at(value),
                    What::Wrong(format!("{key} takes a single value")),
                )
            });
            let set = option.set(self, &text?);
            set.map_err(|error| (at(value), What::Option(error)))?;
        }
        Ok(())
    }
}

/// A value with its place in the file.
type Entry<'a> = Spanned<DeValue<'a>>;

/// The values of a table and of the tables in it, by key.
fn flatten<'a>(section: &str, table: &'a DeTable<'a>, entries: &mut Vec<(String, &'a Entry<'a>)>) {
    for (name, value) in table {
        let name = name.get_ref();
        let key = match section {
            "" => name.to_string(),
            _ => format!("{section}.{name}"),
        };
        match value.get_ref() {
            DeValue::Table(table) => flatten(&key, table, entries),
            _ => entries.push((key, value)),
        }
    }
}

/// A single value as the text of an option.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Some(parsed.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ConfigFileError, line};
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let read = settings.read(text);
        let told = read.map_err(|(at, what)| {
            let error = ConfigFileError {
                path: "f".into(),
                line: Some(line(text, at)),
                what,
            };
            error.to_string()
        });
        told.map(|()| settings)
    }

    #[test]
    fn a_file_sets_any_option() {
        let text = "listen = ['tcp://127.0.0.1:0', 'unix:///s']\nthreads = 2\nclock = 'manual'\n\
                    [limits]\ninflight = 0x7\n[mqtt]\nretain_available = false\nversions = '5'";
        let settings = read(text).unwrap();
        for (key, value) in [
            ("listen", "tcp://127.0.0.1:0\nunix:///s"),
            ("threads", "2"),
            ("clock", "manual"),
            ("limits.inflight", "7"),
            ("mqtt.retain_available", "false"),
            ("mqtt.versions", "5"),
        ] {
            assert_eq!(settings.get(key).unwrap(), value);
        }

        assert_eq!(read("").unwrap(), Settings::default());
        assert_eq!(read("listen = []").unwrap(), Settings::default());
        let one = read("listen = 'tcp://[::1]:0'\nlimits.inflight = 7").unwrap();
        assert_eq!(one.get("listen").unwrap(), "tcp://[::1]:0");
        assert_eq!(one.config().limits.inflight, 7);
    }

    #[test]
    fn single_limits_change_what_the_preset_has_set() {
        let settings = read("[limits]\ninflight = 7\npreset = 'device'").unwrap();
        let limits = &settings.config().limits;
        assert_eq!((limits.inflight, limits.sessions), (7, 128));
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        for (text, says) in [
            (
                "listen = 7",
                "f:1: listen does not take \"7\"; accepted: tcp://",
            ),
            (
                "listen = [\n'tcp://a:1',\n7]",
                "f:3: listen does not take \"7\"",
            ),
            ("listen = [[]]", "f:1: listen takes a single value"),
            (
                "\nthreads = 1025",
                "f:2: threads does not take \"1025\"; accepted: 0 to 1024",
            ),
            ("threads = -1", "f:1: threads does not take \"-1\""),
            (
                "threads = 99999999999999999999",
                "f:1: threads does not take",
            ),
            (
                "[limits]\n# seven\ninflight = [1]",
                "f:3: limits.inflight takes a single value",
            ),
            (
                "[limits]\ninflght = [1]",
                "f:2: unknown option \"limits.inflght\"; did you mean \"limits.inflight\"?",
            ),
            (
                "tread = 0\ninflight = 1",
                "f:1: unknown option \"tread\"; did you mean \"threads\"?",
            ),
            (
                "[mqtt.versions]\nv5 = true",
                "f:2: unknown option \"mqtt.versions.v5\"",
            ),
            ("threads = 1\n[limits", "f:2: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(says), "{text}: {error}");
        }
    }
}
