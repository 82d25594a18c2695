//! A connected client.

use std::sync::Arc;

use midge_codec::Version;

/// A connected client as hooks see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Client identifier.
    pub client_id: Arc<str>,
    /// User name.
    pub username: Option<Arc<str>>,
    /// Where it comes from, as the transport names it (`127.0.0.1:50412`, `unix`, `memory`).
    pub peer: Arc<str>,
    /// Name of the listener that accepted it.
    pub listener: Arc<str>,
    /// Protocol version.
    pub version: Version,
    /// Number of its connection, as in events: a later connection has a greater one. 0 for the host.
    pub connection: u64,
}
