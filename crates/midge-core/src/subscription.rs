//! A subscription apart from its subscriber: its options, and what kind of filter it has.

use midge_codec::SubscriptionOptions;

/// The content of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubRecord {
    pub(crate) options: SubscriptionOptions,
    /// Subscription identifier, 0 for none.
    pub(crate) id: u32,
    /// It is a member of a shared group.
    pub(crate) shared: bool,
}

/// Whether a valid filter has wildcards.
pub(crate) fn has_wildcards(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// Share name and filter of a valid `$share/name/filter`.
pub(crate) fn split_share(filter: &str) -> Option<(&str, &str)> {
    filter.strip_prefix("$share/")?.split_once('/')
}

/// Whether a filter as sent names a shared subscription.
pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}
