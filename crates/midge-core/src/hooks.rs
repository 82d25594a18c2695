//! Hooks: what the host sees and decides.

mod chain;
mod deferred;

use std::sync::Arc;

use midge_codec::{Properties, QoS, ReasonCode, SubscriptionOptions};

use crate::client::ClientInfo;
use crate::message::{Message, MessageRef, Origin, OwnedMessage};
use crate::reason::DisconnectReason;
pub use crate::refusal::Refusal;
pub(crate) use chain::{Chain, FIRST, Place, Said};
pub(crate) use deferred::{Answer, Awaiting};
pub use deferred::{Deferred, Resolver};

/// A set of hooks that are to be called. Hooks outside the set cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookSet(pub u32);

#[allow(missing_docs)] // named like the methods of `Hooks`
impl HookSet {
    pub const NONE: Self = Self(0);
    pub const AUTHENTICATE: Self = Self(1);
    pub const ENHANCED_AUTH: Self = Self(1 << 1);
    pub const AUTHORIZE_PUBLISH: Self = Self(1 << 2);
    pub const AUTHORIZE_SUBSCRIBE: Self = Self(1 << 3);
    pub const AUTHORIZE_RECEIVE: Self = Self(1 << 4);
    pub const INTERCEPT_PUBLISH: Self = Self(1 << 5);
    pub const INTERCEPT_DELIVERY: Self = Self(1 << 6);
    pub const LIFE: Self = Self(1 << 7);
    /// The hooks that see messages.
    pub(crate) const PUBLISHING: Self = Self::AUTHORIZE_PUBLISH
        .union(Self::AUTHORIZE_RECEIVE)
        .union(Self::INTERCEPT_PUBLISH)
        .union(Self::INTERCEPT_DELIVERY);
    /// Every hook.
    pub const ALL: Self = Self((1 << 8) - 1);

    /// Whether any hook of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The hooks of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// CONNECT as the authenticator sees it. Owned, so that an answer can be deferred.
#[derive(Clone)]
#[non_exhaustive]
pub struct ConnectRequest {
    /// The client.
    pub client: Arc<ClientInfo>,
    /// Password.
    pub password: Option<bytes::Bytes>,
    /// Clean Start.
    pub clean_start: bool,
    /// Keep Alive in seconds.
    pub keep_alive: u16,
    /// The will's topic, QoS and RETAIN flag.
    pub will: Option<OwnedMessage>,
    /// User properties of CONNECT, in order.
    pub user_properties: Vec<(String, String)>,
}

impl std::fmt::Debug for ConnectRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of logs.
        f.debug_struct("ConnectRequest")
            .field("client", &self.client)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

/// One step of enhanced authentication (section 4.12).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthStep {
    /// The client.
    pub client: Arc<ClientInfo>,
    /// Authentication Method.
    pub method: Arc<str>,
    /// Authentication Data.
    pub data: Option<bytes::Bytes>,
    /// Whether this starts an exchange (CONNECT or AUTH 0x19) or continues it (AUTH 0x18).
    pub first: bool,
    /// Whether the client is connected already and authenticates again.
    pub re_authentication: bool,
}

/// Answer to a step of enhanced authentication.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuthReply {
    /// Send AUTH 0x18 with this data and wait for the client.
    Continue(Option<bytes::Bytes>),
    /// Authenticated; the data goes into CONNACK or AUTH 0x00.
    Accept(Option<bytes::Bytes>),
    /// Refused.
    Refuse(Refusal),
}

/// Answer of a hook that decides.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No opinion: the next set of hooks is asked.
    Pass,
    /// No.
    Deny(Refusal),
    /// Later, through the [`Resolver`] that came with it. Holds back this client only.
    Defer(Deferred),
}

impl Verdict {
    /// A refusal with [`ReasonCode::NotAuthorized`].
    pub fn deny() -> Self {
        Self::Deny(Refusal::new(ReasonCode::NotAuthorized))
    }

    /// A verdict that is given later, from any thread. No answer within `hooks.timeout_ms`, or a
    /// dropped resolver, means no.
    pub fn defer() -> (Resolver, Self) {
        let (resolver, deferred) = Deferred::new();
        (resolver, Self::Defer(deferred))
    }
}

/// The fate of a message that was published.
#[derive(Debug)]
#[non_exhaustive]
pub enum Interception {
    /// It goes on unchanged.
    Forward,
    /// This goes on in its place; topic, payload, properties and flags may all differ.
    Replace(Box<OwnedMessage>),
    /// It is dropped, and the publisher sees success.
    Drop,
    /// It is dropped, and the publisher sees this reason code (5.0; others see success).
    Refuse(Refusal),
}

/// The fate of a message on its way to one client.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeliveryVerdict {
    /// It goes on unchanged.
    Deliver,
    /// This goes to the client in its place. QoS is still limited by the subscription.
    Replace(Box<OwnedMessage>),
    /// The client does not get it.
    Drop,
}

/// The host's hooks. Every method has a default; only those in [`Hooks::set`] are called.
///
/// # Several sets
///
/// Several sets can be registered: rules from a file, a recorder, the host's own. They are asked in the
/// order in which they were registered, each only for the hooks in its [`Hooks::set`]. A hook in no set
/// costs nothing, and one in several what each of them takes.
///
/// | hook | what several say together |
/// |---|---|
/// | [`authenticate`](Self::authenticate) | the first answer that is not [`Verdict::Pass`] counts; if no set has one, the client is refused (0x86) |
/// | [`enhanced_auth`](Self::enhanced_auth) | the first set that does not [`Pass`](EnhancedVerdict::Pass) knows the method: it gets all further steps, those of re-authentication included |
/// | [`authorize_publish`](Self::authorize_publish), [`authorize_subscribe`](Self::authorize_subscribe) | the first no counts; [`Verdict::Allow`] and [`Verdict::Pass`] both let the next set speak |
/// | [`authorize_receive`](Self::authorize_receive) | the first `false` counts |
/// | [`intercept_publish`](Self::intercept_publish), [`intercept_delivery`](Self::intercept_delivery) | each sees what those before it have made of the message; the first that drops or refuses it ends it |
/// | [`connected`](Self::connected), [`disconnected`](Self::disconnected), [`session_started`](Self::session_started), [`session_ended`](Self::session_ended) | all are told |
///
/// Once a message is authorized by all it is intercepted, in both directions. An answer that is
/// deferred has its own `hooks.timeout_ms`; when it has come, the sets behind it are asked. A check that
/// must hold for all clients, such as a list of banned addresses, stands before the set that lets clients
/// in, and passes clients that it does not know.
///
/// # How they are called
///
/// They are called on the thread that handles the packet (or publishes), with no lock of the
/// broker held, and may call the broker. Those that return a [`Verdict`] may defer their answer;
/// the others must be quick.
///
/// A hook that panics has said no, and no other is asked: what it was asked about does not happen, and
/// [`Stats::panics`](crate::Stats::panics) grows. If a packet of a client was what it was asked
/// about, the client's connection ends; if a publish of the host was, the panic goes on to the
/// caller. A receiver does not get the message it was asked about, and all others do.
pub trait Hooks: Send + Sync + 'static {
    /// The hooks that are to be called. Asked once, at start.
    fn set(&self) -> HookSet;

    /// Whether a client may connect: user name and password, addresses.
    fn authenticate(&self, _request: &ConnectRequest) -> Verdict {
        Verdict::Pass
    }

    /// One step of enhanced authentication. A method that no set knows is refused with 0x8C.
    fn enhanced_auth(&self, _step: &AuthStep) -> EnhancedVerdict {
        EnhancedVerdict::Pass
    }

    /// Whether a client may publish this message, its will included (asked at CONNECT).
    fn authorize_publish(&self, _client: &ClientInfo, _message: &MessageRef<'_>) -> Verdict {
        Verdict::Pass
    }

    /// Whether a client may subscribe to a filter.
    ///
    /// The filter is as the client has written it: that of a shared subscription begins with
    /// `$share/{group}/`, which [`TopicFilter`](midge_codec::TopicFilter) takes apart (`share`,
    /// `filter`). A rule that looks how the text begins is passed by `$share/g/secret/#`, and by
    /// `#` and `+/plan`, which bring messages of `secret/plan`, too: ask
    /// [`TopicFilter::overlaps`](midge_codec::TopicFilter::overlaps), or decide for each message
    /// with [`authorize_receive`](Self::authorize_receive), whatever subscription brings it.
    fn authorize_subscribe(
        &self,
        _client: &ClientInfo,
        _filter: &str,
        _options: &SubscriptionOptions,
    ) -> Verdict {
        Verdict::Pass
    }

    /// Whether a client may receive this message. Asked per receiver: must be cheap.
    ///
    /// A session without a connection is asked about, too. Its client is as its last connection was;
    /// if the broker has seen none, because the session comes from a store, the client identifier and
    /// the user name are known, addresses are empty and the number of the connection is 0.
    fn authorize_receive(&self, _client: &ClientInfo, _message: &MessageRef<'_>) -> bool {
        true
    }

    /// Sees every message before it is routed, whatever its origin, and may change it.
    fn intercept_publish(&self, _origin: &Origin, _message: &MessageRef<'_>) -> Interception {
        Interception::Forward
    }

    /// Sees every message on its way to each client and may change it for this one.
    fn intercept_delivery(
        &self,
        _client_id: &str,
        _message: &Message,
        _qos: QoS,
    ) -> DeliveryVerdict {
        DeliveryVerdict::Deliver
    }

    /// A client connected. This hook and the three below tell, they do not decide. Each is called on
    /// the thread that caused it, so those of two connections of one client identifier may come in
    /// another order than they happened; [`ClientInfo::connection`] says which is the later one.
    /// Events come in order.
    fn connected(&self, _client: &ClientInfo, _session_present: bool) {}

    /// A client's connection ended.
    fn disconnected(&self, _client: &ClientInfo, _reason: &DisconnectReason) {}

    /// A session began. Not in order with those of other threads: use events where that matters.
    fn session_started(&self, _client_id: &str) {}

    /// A session ended. Not in order with those of other threads: use events where that matters.
    fn session_ended(&self, _client_id: &str) {}
}

/// Answer to a step of enhanced authentication, now or later.
#[derive(Debug)]
#[non_exhaustive]
pub enum EnhancedVerdict {
    /// Now.
    Now(AuthReply),
    /// The method is not known here: the next set of hooks is asked.
    Pass,
    /// Later.
    Defer(Deferred),
}

/// User properties of a packet as owned pairs.
pub(crate) fn user_properties(properties: Properties<'_>) -> Vec<(String, String)> {
    properties
        .user_properties()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}
