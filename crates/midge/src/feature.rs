//! What a build can leave out. Each is a feature of this crate under the same name, on by default, and
//! so are those of the crates and libraries above it.

use std::fmt;

/// A part of the broker that a build can leave out; `Cargo.toml` has each under its [`name`](Self::name).
/// What is left out stays where it was in every interface, and answers with [`LeftOut`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// MQTT 3.1. Clients that speak it get "unacceptable protocol version"; 3.1.1 and 5.0 are always there.
    Mqtt31,
    /// Listeners on Unix sockets. Platforms without any are builds without them.
    Unix,
    /// The `$SYS` topics.
    Sys,
    /// Configuration files in TOML.
    Toml,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mqtt31, Self::Unix, Self::Sys, Self::Toml];

    /// The name of the feature of Cargo.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mqtt31 => "mqtt31",
            Self::Unix => "unix",
            Self::Sys => "sys",
            Self::Toml => "toml",
        }
    }

    /// Whether this build has it.
    pub const fn is_built(self) -> bool {
        match self {
            Self::Mqtt31 => cfg!(feature = "mqtt31"),
            Self::Unix => cfg!(all(unix, feature = "unix")),
            Self::Sys => cfg!(feature = "sys"),
            Self::Toml => cfg!(feature = "toml"),
        }
    }

    /// What is not there without it.
    const fn what(self) -> &'static str {
        match self {
            Self::Mqtt31 => "MQTT 3.1",
            Self::Unix => "Unix sockets",
            Self::Sys => "$SYS topics",
            Self::Toml => "configuration files",
        }
    }
}

/// A part of the broker was asked for that this build has not. It says how to get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(pub Feature);

impl LeftOut {
    /// # Errors
    /// This build does not have it.
    pub(crate) const fn check(feature: Feature) -> Result<(), Self> {
        match feature.is_built() {
            true => Ok(()),
            false => Err(Self(feature)),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, name) = (self.0.what(), self.0.name());
        match self.0 {
            Feature::Unix if cfg!(not(unix)) => {
                write!(f, "this platform has no {what}; use tcp://host:port")
            }
            _ => write!(
                f,
                "this build has no {what}; build Midge with its feature {name:?}, which is on by default"
            ),
        }
    }
}

impl std::error::Error for LeftOut {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_says_its_feature() {
        for feature in Feature::ALL {
            let told = LeftOut(feature).to_string();
            let how = match feature {
                Feature::Unix if cfg!(not(unix)) => "tcp://host:port".to_owned(),
                _ => format!("its feature {:?}", feature.name()),
            };
            assert!(told.starts_with("this ") && told.contains(&how), "{told}");
            assert_eq!(LeftOut::check(feature).is_ok(), feature.is_built());
        }
    }
}
