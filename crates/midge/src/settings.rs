//! What a broker is started with, by key: the one table of options. Rust, the C library, the Python
//! package, the command, configuration files and `docs/configuration.md` read this table.

use std::sync::LazyLock;

use midge_core::{Config, ConfigOption, OptionKind, config_options, whole};

use crate::clock::Clock;
use crate::error::OptionError;
use crate::feature::{Feature, LeftOut};

/// Everything that can be set before a start: the rules of the broker, where it listens, its threads
/// and its clock. Each is an option with a key, as in `docs/configuration.md`.
///
/// ```
/// use midge::{Broker, Settings};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut settings = Settings::default();
/// settings.set("listen", "tcp://127.0.0.1:0")?;
/// settings.set("limits.inflight", "16")?;
/// assert_eq!(settings.get("limits.inflight")?, "16");
/// let broker = Broker::builder().settings(settings).start()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) config: Config,
    pub(crate) listen: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: Config::default(),
            listen: Vec::new(),
            threads: 1,
            clock: Clock::System,
        }
    }
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its key: `name` or `section.name`.
    pub key: &'static str,
    /// What kind of value it takes.
    pub kind: OptionKind,
    /// The accepted values in words.
    pub accepted: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
    access: Access,
}

#[derive(Clone, Copy, Debug)]
enum Access {
    /// Of the start: no rule of the broker.
    Start {
        set: fn(&mut Settings, &str) -> Option<()>,
        get: fn(&Settings) -> String,
    },
    Rule(&'static ConfigOption),
}

impl OptionInfo {
    /// Its value; those of a list are separated by newlines.
    pub fn value(&self, settings: &Settings) -> String {
        match self.access {
            Access::Start { get, .. } => get(settings),
            Access::Rule(option) => option.value(&settings.config),
        }
    }

    /// Its default value.
    pub fn default_value(&self) -> String {
        self.value(&Settings::default())
    }

    pub(crate) fn set(&self, settings: &mut Settings, value: &str) -> Result<(), OptionError> {
        let mut changed = settings.clone();
        let done = match self.access {
            Access::Start { set, .. } => set(&mut changed, value),
            Access::Rule(option) => option.set(&mut changed.config, value),
        };
        done.ok_or_else(|| OptionError::Value {
            key: self.key,
            value: value.to_owned(),
            accepted: self.accepted,
        })?;

        let needed = needs(self.key, &changed).map_or(Ok(()), LeftOut::check);
        needed.map_err(|source| OptionError::LeftOut {
            key: self.key,
            value: value.to_owned(),
            source,
        })?;
        *settings = changed;
        Ok(())
    }
}

/// What the value of an option needs that a build can leave out.
fn needs(key: &str, settings: &Settings) -> Option<Feature> {
    let is_unix = |address: &String| address.starts_with("unix://");
    let rules = &settings.config;

    match key {
        "listen" if settings.listen.iter().any(is_unix) => Some(Feature::Unix),
        "mqtt.versions" if rules.mqtt.versions.v31 => Some(Feature::Mqtt31),
        "sys.interval_s" if rules.sys.interval_s > 0 => Some(Feature::Sys),
        _ => None,
    }
}

/// The options of the start. Those of the rules stand with [`Config`].
const START: [OptionInfo; 3] = [
    OptionInfo {
        key: "listen",
        kind: OptionKind::List,
        accepted: "tcp://host:port, unix:///path, or nothing to clear the list",
        doc: "Where to listen; each value adds an address. Port 0 takes a free one, unix:///path?mode=0660 sets the permissions of the socket. Without any, clients connect in memory only.",
        access: Access::Start {
            set: |settings, value| {
                match value.trim() {
                    "" => settings.listen.clear(),
                    address if address.contains("://") => settings.listen.push(address.to_owned()),
                    _ => return None,
                }
                Some(())
            },
            get: |settings| settings.listen.join("\n"),
        },
    },
    OptionInfo {
        key: "threads",
        kind: OptionKind::Integer,
        accepted: "0 to 1024",
        doc: "Threads of the broker. A connection stays with one of them, the one that has the fewest when it begins. With 0 the host polls the broker. Of no meaning on a runtime of the host.",
        access: Access::Start {
            set: |settings, value| {
                settings.threads = whole(value, 0..=1024)?;
                Some(())
            },
            get: |settings| settings.threads.to_string(),
        },
    },
    OptionInfo {
        key: "clock",
        kind: OptionKind::Text,
        accepted: "system or manual",
        doc: "The clock of the broker. A manual one stands still until the host moves it: for tests.",
        access: Access::Start {
            set: |settings, value| {
                settings.clock = match value.trim() {
                    "system" => Clock::System,
                    "manual" => Clock::Manual,
                    _ => return None,
                };
                Some(())
            },
            get: |settings| {
                let is_manual = settings.clock == Clock::Manual;
                if is_manual { "manual" } else { "system" }.to_owned()
            },
        },
    },
];

static TABLE: LazyLock<Vec<OptionInfo>> = LazyLock::new(|| {
    let rules = config_options().map(|option| OptionInfo {
        key: option.key,
        kind: option.kind,
        accepted: option.accepted,
        doc: option.doc,
        access: Access::Rule(option),
    });
    START.into_iter().chain(rules).collect()
});

/// The option with this key.
pub(crate) fn find(key: &str) -> Result<&'static OptionInfo, OptionError> {
    let found = TABLE.iter().find(|option| option.key == key);
    found.ok_or_else(|| OptionError::Unknown {
        key: key.to_owned(),
        nearest: nearest(key),
    })
}

/// The key that takes the fewest changes.
fn nearest(key: &str) -> &'static str {
    let key: String = key.chars().take(64).collect(); // longer than any option
    TABLE
        .iter()
        .map(|option| option.key)
        .min_by_key(|known| strsim::levenshtein(&key, known))
        .unwrap_or("")
}

impl Settings {
    /// All options, in the order of the documentation.
    pub fn options() -> &'static [OptionInfo] {
        &TABLE
    }

    /// Sets an option by its key, as in `docs/configuration.md`.
    ///
    /// # Errors
    /// An unknown key, or a value that the option does not take.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), OptionError> {
        find(key)?.set(self, value)
    }

    /// The value of an option; those of a list are separated by newlines.
    ///
    /// # Errors
    /// An unknown key.
    pub fn get(&self, key: &str) -> Result<String, OptionError> {
        Ok(find(key)?.value(self))
    }

    /// The rules of the broker.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rules of the broker, to be changed directly. A start refuses what an option does not take.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The clock of the broker.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The threads of the broker.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Checks what was changed without [`Settings::set`]. An address is read when it is bound.
    pub(crate) fn check(&self) -> Result<(), OptionError> {
        let mut scratch = self.clone();
        let mut options = TABLE.iter();
        options.try_for_each(|option| match option.kind {
            OptionKind::List => Ok(()),
            _ => option.set(&mut scratch, &option.value(self)),
        })
    }
}

#[cfg(test)]
mod tests {
    use midge_core::Limits;

    use super::*;

    #[test]
    fn every_default_can_be_set_again_and_changes_nothing() {
        let mut settings = Settings::default();
        for option in Settings::options() {
            let value = option.default_value();
            settings.set(option.key, &value).unwrap();
            assert_eq!(settings.get(option.key).unwrap(), value, "{}", option.key);
        }
        assert_eq!(settings, Settings::default());
        settings.check().unwrap();
    }

    #[test]
    fn every_option_says_what_it_does() {
        for option in Settings::options() {
            let doc = option.doc;
            assert!(doc.ends_with('.') && !doc.contains("  "), "{doc:?}");
            assert!(!option.accepted.is_empty(), "{}", option.key);
        }
    }

    #[test]
    fn what_belongs_to_the_start_is_an_option_too() {
        let mut settings = Settings::default();
        settings.set("listen", "tcp://127.0.0.1:0").unwrap();
        settings.set("listen", "unix:///s").unwrap();
        settings.set("threads", "4").unwrap();
        settings.set("clock", "manual").unwrap();
        assert_eq!(
            settings.get("listen").unwrap(),
            "tcp://127.0.0.1:0\nunix:///s"
        );
        assert_eq!((settings.threads(), settings.clock()), (4, Clock::Manual));

        settings.set("listen", "").unwrap();
        assert_eq!(settings.get("listen").unwrap(), "");
    }

    #[test]
    fn a_number_wider_than_addresses_is_refused_with_the_largest() {
        let mut settings = Settings::default();
        let most = usize::MAX.to_string();
        settings.set("limits.retained_bytes", &most).unwrap();
        assert_eq!(settings.get("limits.retained_bytes").unwrap(), most);

        let more = (usize::MAX as u128 + 1).to_string();
        let refused = settings.set("limits.retained_bytes", &more).unwrap_err();
        let said = refused.to_string();
        assert!(
            said.ends_with(&format!("; numbers end at {most} here")),
            "{said}"
        );

        // What an option does not take for another reason is refused without it.
        let refused = settings.set("limits.topic_levels", "9999").unwrap_err();
        assert!(
            refused.to_string().ends_with("accepted: 1 to 1024"),
            "{refused}"
        );
    }

    #[test]
    fn a_preset_is_followed_by_single_limits() {
        let mut settings = Settings::default();
        let mut put = |key, value: &str| settings.set(key, value).unwrap();
        put("limits.inflight", "7");
        put("limits.preset", "device");
        put("limits.sessions", "9");

        let (limits, device) = (&settings.config().limits, Limits::device());
        assert_eq!(limits.inflight, device.inflight);
        assert_eq!(limits.total_bytes, 4 << 20);
        assert_eq!(limits.sessions, 9);
    }

    /// In a build that has it, the value is set; in one that has not, the feature is named, by `set` and
    /// at a start.
    #[test]
    fn a_value_that_needs_what_is_left_out_is_refused() {
        for (key, value, feature) in [
            ("listen", "unix:///s", Feature::Unix),
            ("mqtt.versions", "3.1,5", Feature::Mqtt31),
            ("sys.interval_s", "1", Feature::Sys),
        ] {
            let mut settings = Settings::default();
            let set = settings.set(key, value);

            match feature.is_built() {
                true => assert_eq!(settings.get(key).as_deref(), Ok(value)),
                false => {
                    assert_eq!(settings, Settings::default());
                    let told = set.unwrap_err().to_string();
                    assert!(
                        told.contains(key) && told.contains(feature.name()),
                        "{told}"
                    );
                }
            }
        }

        let mut settings = Settings::default();
        settings.config_mut().sys.interval_s = 1;
        assert_eq!(settings.check().is_ok(), Feature::Sys.is_built());
        settings.config_mut().mqtt.versions.v31 = true;
        let all = Feature::Sys.is_built() && Feature::Mqtt31.is_built();
        assert_eq!(settings.check().is_ok(), all);
        assert_eq!(Settings::default().check(), Ok(()));
    }

    #[test]
    fn mistakes_are_named() {
        let mut settings = Settings::default();
        let unknown = |key: &str, nearest| OptionError::Unknown {
            key: key.into(),
            nearest,
        };
        for (key, nearest) in [
            ("limit.inflght", "limits.inflight"),
            ("treads", "threads"),
            ("", "clock"),
        ] {
            assert_eq!(settings.set(key, "1"), Err(unknown(key, nearest)));
            assert_eq!(settings.get(key), Err(unknown(key, nearest)));
        }

        for (key, value) in [
            ("listen", "localhost"),
            ("threads", "-1"),
            ("threads", "1025"),
            ("clock", "sundial"),
            ("limits.preset", "large"),
            ("limits.inflight", "0"),
            ("limits.inflight", "65536"),
            ("limits.packet_bytes", "x"),
            ("mqtt.maximum_qos", "3"),
            ("mqtt.versions", "4"),
            ("overflow.session", "block"),
            ("sys.interval_s", "-1"),
            ("shutdown.wills", "perhaps"),
        ] {
            let refused = settings.set(key, value);
            assert!(matches!(refused, Err(OptionError::Value { .. })), "{key}");
        }
        assert_eq!(settings, Settings::default());
    }
}
