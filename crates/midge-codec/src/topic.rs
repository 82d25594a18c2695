//! Topic names and topic filters (section 4.7), valid by construction.

use std::error::Error;
use std::fmt;

use crate::ReasonCode;

/// Longest topic name or filter in bytes (MQTT-4.7.3-3).
pub const MAX_TOPIC_BYTES: usize = 65_535;

const SHARE_PREFIX: &str = "$share/";

/// Why a text is no topic name or topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// Not even one character (MQTT-4.7.3-1).
    Empty,
    /// Longer than [`MAX_TOPIC_BYTES`] (MQTT-4.7.3-3).
    TooLong,
    /// The character U+0000 in it (MQTT-4.7.3-2).
    NulCharacter,
    /// `+` or `#` in a topic name (MQTT-4.7.0-1).
    Wildcard,
    /// `#` that is not the whole last level, or `+` that is not a whole level (MQTT-4.7.1-1,
    /// MQTT-4.7.1-2).
    MisplacedWildcard,
    /// `$share/` without a share name and a filter behind it (MQTT-4.8.2-1, MQTT-4.8.2-2).
    BadShare,
}

impl TopicError {
    /// What is wrong, for a person to read.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Empty => "topic: empty",
            Self::TooLong => "topic: longer than 65535 bytes",
            Self::NulCharacter => "topic: character U+0000",
            Self::Wildcard => "topic name: wildcard",
            Self::MisplacedWildcard => "topic filter: misplaced wildcard",
            Self::BadShare => "topic filter: $share without name and filter",
        }
    }

    /// What a peer is told that sent it.
    pub(crate) const fn reason(self) -> ReasonCode {
        match self {
            Self::Wildcard => ReasonCode::TopicNameInvalid,
            Self::MisplacedWildcard => ReasonCode::TopicFilterInvalid,
            Self::Empty | Self::TooLong | Self::NulCharacter | Self::BadShare => {
                ReasonCode::MalformedPacket
            }
        }
    }
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl Error for TopicError {}

/// A valid topic name: what messages are published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a text (MQTT-4.7.0-1, MQTT-4.7.3-1 to 3).
    #[inline]
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        // One look at every byte without early exit compiles to vector code.
        let bad = text.bytes().fold(false, |bad, byte| {
            bad | (byte == 0) | (byte == b'+') | (byte == b'#')
        });
        if bad || text.is_empty() || text.len() > MAX_TOPIC_BYTES {
            return Err(Self::fault(text));
        }
        Ok(Self(text))
    }

    #[cold]
    fn fault(text: &str) -> TopicError {
        if text.is_empty() {
            TopicError::Empty
        } else if text.len() > MAX_TOPIC_BYTES {
            TopicError::TooLong
        } else if text.contains('\0') {
            TopicError::NulCharacter
        } else {
            TopicError::Wildcard
        }
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

impl AsRef<str> for TopicName<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A valid topic filter: what is subscribed to, a share name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    raw: &'a str,
    share: Option<&'a str>,
    filter: &'a str,
}

impl<'a> TopicFilter<'a> {
    /// Checks a text (sections 4.7.1 and 4.8.2). `$share` alone is an ordinary filter.
    pub fn new(text: &'a str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > MAX_TOPIC_BYTES {
            return Err(TopicError::TooLong);
        }
        if text.as_bytes().contains(&0) {
            return Err(TopicError::NulCharacter);
        }

        let (share, filter) = match text.strip_prefix(SHARE_PREFIX) {
            None => (None, text),
            Some(tail) => match tail.split_once('/') {
                Some((name, filter))
                    if !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty() =>
                {
                    (Some(name), filter)
                }
                _ => return Err(TopicError::BadShare),
            },
        };

        check_wildcards(filter)?;
        Ok(Self {
            raw: text,
            share,
            filter,
        })
    }

    /// The share name of `$share/{name}/{filter}`.
    pub const fn share(&self) -> Option<&'a str> {
        self.share
    }

    /// The filter that topics are matched with, without `$share/{name}/`.
    pub const fn filter(&self) -> &'a str {
        self.filter
    }

    /// The whole text.
    pub const fn as_str(&self) -> &'a str {
        self.raw
    }

    /// Whether it can match more than one topic.
    pub fn has_wildcards(&self) -> bool {
        self.filter.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether a topic name matches (section 4.7): level by level, byte for byte (MQTT-4.7.3-4).
    pub fn matches(&self, topic: &str) -> bool {
        // A leading wildcard does not match topics that begin with $ (MQTT-4.7.2-1).
        if topic.starts_with('$') && self.filter.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.filter.split('/') {
            if wanted == "#" {
                // Also when the topic has ended: "a/#" matches "a" (section 4.7.1.2).
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether there may be a topic that both match (sections 4.7.1 and 4.7.2): `#`, `+/plan` and
    /// `$share/g/secret/+` overlap with `secret/#`. For rules about subscriptions, which
    /// the beginning of a filter does not decide.
    pub fn overlaps(&self, other: &TopicFilter<'_>) -> bool {
        // A leading wildcard does not match topics that begin with $ (MQTT-4.7.2-1).
        let apart = |one: &str, other: &str| one.starts_with('$') && other.starts_with(['+', '#']);
        if apart(self.filter, other.filter) || apart(other.filter, self.filter) {
            return false;
        }

        let (mut ours, mut theirs) = (self.filter.split('/'), other.filter.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                // Also when the other one has ended: "a/#" matches "a" (section 4.7.1.2).
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some(one), Some(other)) if one == other || one == "+" || other == "+" => {}
                _ => return false,
            }
        }
    }
}

impl AsRef<str> for TopicFilter<'_> {
    fn as_ref(&self) -> &str {
        self.raw
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.raw)
    }
}

/// `+` fills a level, `#` fills the last one (MQTT-4.7.1-1, MQTT-4.7.1-2).
fn check_wildcards(filter: &str) -> Result<(), TopicError> {
    let mut before = b'/';
    let mut rest = filter.as_bytes();
    while let [byte, behind @ ..] = rest {
        let fine = match byte {
            b'+' => before == b'/' && matches!(behind, [] | [b'/', ..]),
            b'#' => before == b'/' && behind.is_empty(),
            _ => true,
        };
        if !fine {
            return Err(TopicError::MisplacedWildcard);
        }
        (before, rest) = (*byte, behind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, topic: &str) -> bool {
        TopicFilter::new(filter).expect("a filter").matches(topic)
    }

    /// All texts of one to `most` of these levels.
    fn texts(levels: &[&str], most: usize) -> Vec<String> {
        let mut all: Vec<String> = levels.iter().map(ToString::to_string).collect();
        let mut longest = all.clone();
        for _ in 1..most {
            longest = longest
                .iter()
                .flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}")))
                .collect();
            all.extend_from_slice(&longest);
        }
        all
    }

    #[test]
    fn filters_overlap_if_a_topic_matches_both() {
        let topics = texts(&["a", "b", "$x", ""], 4);
        let filters = texts(&["a", "b", "$x", "+", "#"], 3);
        let filters: Vec<_> = filters
            .iter()
            .filter_map(|text| TopicFilter::new(text).ok())
            .collect();
        let matched: Vec<Vec<bool>> = filters
            .iter()
            .map(|filter| topics.iter().map(|topic| filter.matches(topic)).collect())
            .collect();

        for (one, of_one) in filters.iter().zip(&matched) {
            for (other, of_other) in filters.iter().zip(&matched) {
                let common = of_one
                    .iter()
                    .zip(of_other)
                    .any(|(one, other)| *one && *other);
                assert_eq!(one.overlaps(other), common, "{one} {other}");
            }
        }
    }

    #[test]
    fn groups_do_not_keep_filters_apart() {
        let overlap = |one, other| {
            let (one, other) = (TopicFilter::new(one), TopicFilter::new(other));
            one.expect("a filter").overlaps(&other.expect("a filter"))
        };

        assert!(overlap("$share/g/secret/+", "secret/#"));
        assert!(overlap("secret/#", "$share/g/#"));
        assert!(!overlap("$share/g/open/#", "secret/#"));
        assert!(!overlap("$share/g/#", "$SYS/#"));
    }

    #[test]
    fn mqtt_4_7_0_1_no_wildcards_in_topic_names() {
        for text in ["a/+", "a/#", "#", "+", "a+b", "a#"] {
            assert_eq!(TopicName::new(text), Err(TopicError::Wildcard), "{text}");
        }
        for text in [
            "a",
            "/",
            "//",
            "a b",
            "$SYS/x",
            "$share/g/a",
            "\u{FEFF}a",
            "räum",
        ] {
            assert_eq!(TopicName::new(text).map(TopicName::as_str), Ok(text));
        }
    }

    #[test]
    fn mqtt_4_7_3_1_at_least_one_character() {
        assert_eq!(TopicName::new(""), Err(TopicError::Empty));
        assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
    }

    #[test]
    fn mqtt_4_7_3_2_no_nul() {
        assert_eq!(TopicName::new("a\0b"), Err(TopicError::NulCharacter));
        assert_eq!(TopicName::new("#\0"), Err(TopicError::NulCharacter));
        assert_eq!(TopicFilter::new("a\0b"), Err(TopicError::NulCharacter));
    }

    #[test]
    fn mqtt_4_7_3_3_at_most_65535_bytes() {
        let longest = "x".repeat(MAX_TOPIC_BYTES);
        assert!(TopicName::new(&longest).is_ok());
        assert!(TopicFilter::new(&longest).is_ok());
        let longer = "x".repeat(MAX_TOPIC_BYTES + 1);
        assert_eq!(TopicName::new(&longer), Err(TopicError::TooLong));
        assert_eq!(TopicFilter::new(&longer), Err(TopicError::TooLong));
    }

    #[test]
    fn mqtt_4_7_1_1_multi_level_wildcard() {
        for text in ["a#", "a/#/b", "#/a", "##", "a/##", "/#a"] {
            assert_eq!(
                TopicFilter::new(text),
                Err(TopicError::MisplacedWildcard),
                "{text}"
            );
        }
        for text in ["#", "a/#", "/#", "+/#", "a//#"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
        assert!(matches("a/#", "a"));
        assert!(matches("a/#", "a/"));
        assert!(matches("a/#", "a/b/c"));
        assert!(!matches("a/#", "ab"));
        assert!(matches("#", "/"));
        assert!(matches("+/#", "a"));
    }

    #[test]
    fn mqtt_4_7_1_2_single_level_wildcard() {
        for text in ["a+", "+a", "a/b+", "a/+b/c", "++", "+#"] {
            assert_eq!(
                TopicFilter::new(text),
                Err(TopicError::MisplacedWildcard),
                "{text}"
            );
        }
        for text in ["+", "/+", "+/+", "a/+/b", "+/"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
        assert!(!matches("+", "/a"));
        assert!(matches("/+", "/a"));
        assert!(matches("+/+", "/a"));
        assert!(matches("a/+", "a/"));
        assert!(!matches("a/+", "a"));
        assert!(!matches("a/+", "a/b/c"));
        assert!(matches("a/+/b", "a//b"));
    }

    #[test]
    fn mqtt_4_7_2_1_leading_wildcards_and_dollar() {
        for (filter, topic) in [
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("+/#", "$foo"),
            ("$share/g/#", "$SYS/x"),
            ("$share/g/+", "$x"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
        assert!(matches("$SYS/#", "$SYS/x"));
        assert!(matches("$SYS/+", "$SYS/x"));
        assert!(matches("#", "a/$SYS"));
        assert!(matches("+/$SYS", "a/$SYS"));
    }

    #[test]
    fn mqtt_4_7_3_4_byte_for_byte() {
        for (filter, topic) in [
            ("A", "a"),
            ("a//b", "a/b"),
            ("a", "a/"),
            ("a", "/a"),
            ("a ", "a"),
            ("é", "e\u{301}"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
        assert!(!matches("\u{FEFF}a", "a")); // MQTT-1.5.4-3
    }

    #[test]
    fn mqtt_4_8_2_1_share_needs_a_name() {
        for text in ["$share//a", "$share/", "$share//"] {
            assert_eq!(TopicFilter::new(text), Err(TopicError::BadShare), "{text}");
        }
        for text in ["$share", "$sharex/a", "a/$share/g/a"] {
            assert_eq!(
                TopicFilter::new(text).map(|filter| filter.share()),
                Ok(None),
                "{text}"
            );
        }
    }

    #[test]
    fn mqtt_4_8_2_2_share_name_and_filter() {
        for text in [
            "$share/g",
            "$share/g/",
            "$share/+/a",
            "$share/g#/a",
            "$share/#",
        ] {
            assert_eq!(TopicFilter::new(text), Err(TopicError::BadShare), "{text}");
        }

        assert_eq!(
            TopicFilter::new("$share/g/a#"),
            Err(TopicError::MisplacedWildcard)
        );

        let filter = TopicFilter::new("$share/g//a").expect("a filter");
        assert_eq!((filter.share(), filter.filter()), (Some("g"), "/a"));
        assert_eq!(filter.as_str(), "$share/g//a");
        assert!(filter.matches("/a"));
        assert!(!filter.has_wildcards());
        assert!(TopicFilter::new("$share/g/a/+").is_ok_and(|filter| filter.has_wildcards()));
    }
}
