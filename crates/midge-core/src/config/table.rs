//! The table of options: a row for each field of the sections, made of its documentation, type, default
//! and range.

use std::ops::RangeBounds;
use std::str::FromStr;

use midge_codec::QoS;

use super::{Config, Overflow, Versions};

/// What kind of value an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// Text.
    Text,
    /// Texts; each value that is set is added to those that are there.
    List,
}

/// One option of a [`Config`], as text.
#[derive(Clone, Copy, Debug)]
pub struct ConfigOption {
    /// Its key, `section.name`, which is also its path in [`Config`].
    pub key: &'static str,
    /// What kind of value it takes.
    pub kind: OptionKind,
    /// The accepted values in words.
    pub accepted: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Option<()>,
    pub(super) get: fn(&Config) -> String,
}

impl ConfigOption {
    /// Sets it; `None` if it does not take this value.
    pub fn set(&self, config: &mut Config, text: &str) -> Option<()> {
        (self.set)(config, text)
    }

    /// Its value.
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

/// Declares a section of [`Config`]: a public structure with its defaults, and a row of the table for
/// each field. The field's documentation is that of the option. Whole numbers have a range, in code
/// and in words.
macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $Section:ident: $path:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $default:expr $(, $range:expr, $accepted:literal)?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $Section {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $Section {
            pub(super) const OPTIONS: &[$crate::config::ConfigOption] = &[$(
                $crate::config::table::section!(
                    @row $path, $field, $type, concat!($($doc),+) $(, $range, $accepted)?
                ),
            )+];
        }
    };
    (@row $path:ident, $field:ident, $type:ty, $doc:expr, $range:expr, $accepted:literal) => {
        $crate::config::ConfigOption {
            key: concat!(stringify!($path), ".", stringify!($field)),
            kind: $crate::config::OptionKind::Integer,
            accepted: $accepted,
            doc: $doc.trim_ascii(),
            set: |config, text| {
                config.$path.$field = $crate::config::table::whole::<$type>(text, $range)?;
                Some(())
            },
            get: |config| config.$path.$field.to_string(),
        }
    };
    (@row $path:ident, $field:ident, $type:ty, $doc:expr) => {
        $crate::config::ConfigOption {
            key: concat!(stringify!($path), ".", stringify!($field)),
            kind: <$type as $crate::config::table::Value>::KIND,
            accepted: <$type as $crate::config::table::Value>::ACCEPTED,
            doc: $doc.trim_ascii(),
            set: |config, text| {
                config.$path.$field = $crate::config::table::Value::parse(text)?;
                Some(())
            },
            get: |config| $crate::config::table::Value::text(&config.$path.$field),
        }
    };
}

pub(super) use section;

/// Reads a whole number within a range; `_` may separate its digits. `None` if it is no such number.
pub fn whole<T: FromStr + PartialOrd>(text: &str, range: impl RangeBounds<T>) -> Option<T> {
    let number = text.trim().replace('_', "").parse().ok()?;
    range.contains(&number).then_some(number)
}

/// A type of options whose accepted values do not depend on the option.
pub(super) trait Value: Sized {
    const KIND: OptionKind = OptionKind::Text;
    const ACCEPTED: &str;

    fn parse(text: &str) -> Option<Self>;
    fn text(&self) -> String;
}

impl Value for bool {
    const KIND: OptionKind = OptionKind::Bool;
    const ACCEPTED: &str = "true or false";

    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "true" | "on" | "yes" | "1" => Some(true),
            "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for QoS {
    const KIND: OptionKind = OptionKind::Integer;
    const ACCEPTED: &str = "0, 1 or 2";

    fn parse(text: &str) -> Option<Self> {
        Self::from_u8(text.trim().parse().ok()?)
    }

    fn text(&self) -> String {
        (*self as u8).to_string()
    }
}

impl Value for String {
    const ACCEPTED: &str = "text of at most 65535 bytes";

    fn parse(text: &str) -> Option<Self> {
        (text.len() <= 65_535 && !text.contains('\0')).then(|| text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

/// The value with this name in a list of names.
fn named<T: Copy>(names: &[(T, &str)], text: &str) -> Option<T> {
    let found = names.iter().find(|(_, name)| *name == text.trim());
    found.map(|(value, _)| *value)
}

impl Overflow {
    const NAMES: [(Self, &str); 3] = [
        (Self::DropNewest, "drop_newest"),
        (Self::DropOldest, "drop_oldest"),
        (Self::Disconnect, "disconnect"),
    ];
}

impl Value for Overflow {
    const ACCEPTED: &str = "drop_newest, drop_oldest or disconnect";

    fn parse(text: &str) -> Option<Self> {
        named(&Self::NAMES, text)
    }

    fn text(&self) -> String {
        let name = Self::NAMES.iter().find(|(value, _)| value == self);
        name.map_or_else(String::new, |(_, name)| (*name).to_owned())
    }
}

impl Value for Versions {
    const ACCEPTED: &str = "a list of 3.1, 3.1.1 and 5";

    fn parse(text: &str) -> Option<Self> {
        let mut versions = Self {
            v31: false,
            v311: false,
            v5: false,
        };
        for version in text.split(',') {
            match version.trim() {
                "3.1" => versions.v31 = true,
                "3.1.1" => versions.v311 = true,
                "5" | "5.0" => versions.v5 = true,
                _ => return None,
            }
        }
        Some(versions)
    }

    fn text(&self) -> String {
        let all = [(self.v31, "3.1"), (self.v311, "3.1.1"), (self.v5, "5")];
        let on = all.into_iter().filter(|(on, _)| *on);
        on.map(|(_, name)| name).collect::<Vec<_>>().join(",")
    }
}
