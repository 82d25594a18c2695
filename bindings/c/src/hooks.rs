//! Callbacks that decide: authentication, access control, interception.

use std::ffi::{c_char, c_void};
use std::sync::{Arc, OnceLock};

use broker::{
    Broker, ClientInfo, ConnectRequest, HookSet, Hooks, Interception, Later, MessageRef, Origin,
    QoS, ReasonCode, Refusal, SubscriptionOptions, TopicFilter, Verdict, Version,
};
use parking_lot::Mutex;

use crate::args::message_for_callback;
use crate::callback::{Gate, User, midge_free_fn};
use crate::event;
use crate::failpoints;
use crate::ffi::{self, enter, midge_bytes};
use crate::inside;
use crate::message::midge_message;
use crate::status::{Fault, MIDGE_E_NOT_FOUND, midge_status};
use crate::verdict::{self, Answer, midge_decision};

/// A client that wants to connect. All pointers are valid until the callback returns.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_connect_info {
    /// sizeof(midge_connect_info) of the library.
    pub struct_size: u32,
    /// 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0.
    pub protocol: u8,
    /// 1 if the client wants a new session.
    pub clean_start: u8,
    /// Keep alive in seconds, 0 for none.
    pub keep_alive: u16,
    /// Client identifier, assigned by the broker if the client has sent none.
    pub client_id: midge_bytes,
    /// User name, or empty.
    pub username: midge_bytes,
    /// Password, or empty.
    pub password: midge_bytes,
    /// Where it comes from: "127.0.0.1:50412", "unix", "memory".
    pub peer_addr: midge_bytes,
    /// URL of the listener that took the connection.
    pub listener: midge_bytes,
    /// Topic of its will, or empty.
    pub will_topic: midge_bytes,
    /// User properties of CONNECT: key, value, key, value, ...; or NULL.
    pub user_props: *const midge_bytes,
    /// Number of elements of user_props, twice the number of properties.
    pub user_props_len: usize,
}

/// A client publishes to a topic (its will included, at CONNECT).
pub const MIDGE_ACL_PUBLISH: u8 = 1;
/// A client subscribes to a filter.
pub const MIDGE_ACL_SUBSCRIBE: u8 = 2;
/// A client is about to get a message. Asked for each receiver of each message: must be cheap.
pub const MIDGE_ACL_RECEIVE: u8 = 3;

/// What a client wants to do. All pointers are valid until the callback returns.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_acl_request {
    /// sizeof(midge_acl_request) of the library.
    pub struct_size: u32,
    /// A MIDGE_ACL_* number.
    pub action: u8,
    /// QoS of the message or asked for by the subscription.
    pub qos: u8,
    /// Whether the message is to be retained.
    pub retain: u8,
    /// 0.
    pub reserved: u8,
    /// Client identifier.
    pub client_id: midge_bytes,
    /// User name, or empty.
    pub username: midge_bytes,
    /// Where it comes from. For MIDGE_ACL_RECEIVE and a client that is away: where it came from last, or
    /// empty if the broker has not seen it.
    pub peer_addr: midge_bytes,
    /// Topic name, or filter of a subscription. Of a shared subscription it is the filter alone, without
    /// $share and the group. A rule that looks how a filter begins is passed by wildcards: "#" and
    /// "+/plan" bring messages of "secret/plan", too. midge_filter_reaches() tells; or decide for each
    /// message with MIDGE_ACL_RECEIVE, whatever subscription brings it.
    pub topic: midge_bytes,
    /// Group of a shared subscription ("g" of "$share/g/a/#"), otherwise empty.
    pub group: midge_bytes,
}

/// Decides whether a client may connect: MIDGE_OK, or MIDGE_E_DENIED, or midge_refuse() for a no with
/// a reason, or MIDGE_PASS for no opinion, which is a no if no other set has one. Or keep d, return MIDGE_E_WOULD_BLOCK, and call midge_decision_complete() later from any
/// thread; only this client waits. No answer within hooks.timeout_ms, and any other result, is a no.
pub type midge_auth_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        info: *const midge_connect_info,
        d: midge_decision,
    ) -> midge_status,
>;

/// Decides whether a client may do something: MIDGE_OK or MIDGE_PASS; midge_refuse() for a no with a reason;
/// midge_decision_defer() for an answer that comes later; any other result is a no.
pub type midge_acl_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, req: *const midge_acl_request) -> midge_status>;

/// Sees every message before it is routed, those of the host and wills included. MIDGE_OK lets it
/// pass; with a message in *replace, which the library then owns, that one goes on in its place.
/// Any other result drops it: publishing functions of the host then give MIDGE_E_DENIED; a client sees
/// success, or what midge_refuse() was told.
pub type midge_publish_hook_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        message: *const midge_message,
        replace: *mut *mut midge_message,
    ) -> midge_status,
>;

/// Called on each thread of the broker.
pub type midge_thread_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Callbacks that decide. All may be NULL; what is NULL costs nothing. They run on the thread that
/// handles the packet: a thread of the broker, or the caller of a publishing function. No lock of
/// the broker is held.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_hooks {
    /// sizeof(midge_hooks).
    pub struct_size: u32,
    /// Which actions on_acl is asked for: bits 1 << MIDGE_ACL_*. 0 is publish and subscribe.
    pub acl_actions: u32,
    /// For the callbacks.
    pub user: *mut c_void,
    /// May be NULL; called with user exactly once: when the configuration, its copies and all
    /// brokers that were started with them are gone, at latest before midge_broker_join() or
    /// midge_broker_free() of the last broker returns if the configurations were freed before.
    pub user_free: midge_free_fn,
    /// Authentication.
    pub on_auth: midge_auth_fn,
    /// Access control.
    pub on_acl: midge_acl_fn,
    /// Interception of messages.
    pub on_publish: midge_publish_hook_fn,
    /// First on each thread of the broker.
    pub on_thread_start: midge_thread_fn,
    /// Last on each thread of the broker.
    pub on_thread_stop: midge_thread_fn,
}

const LEAST: usize = std::mem::offset_of!(midge_hooks, on_auth);

/// Callbacks with their user pointer, as a configuration holds them.
pub(crate) struct HookTable {
    raw: midge_hooks,
    user: Arc<User>,
}

// SAFETY: functions and a user pointer that the contract allows to be used on any thread.
unsafe impl Send for HookTable {}
// SAFETY: as above.
unsafe impl Sync for HookTable {}

impl HookTable {
    /// Copies the callbacks of the host, and takes their user pointer.
    ///
    /// # Safety
    /// `h` points to a structure of its `struct_size`.
    pub(crate) unsafe fn read(h: *const midge_hooks) -> Result<Arc<Self>, Fault> {
        // SAFETY: as the caller promises; all zero is valid for it.
        let raw = unsafe { ffi::read_struct(h, LEAST, "h") }?;
        let known = 1 << MIDGE_ACL_PUBLISH | 1 << MIDGE_ACL_SUBSCRIBE | 1 << MIDGE_ACL_RECEIVE;

        if raw.acl_actions & !known != 0 {
            return Err(Fault::invalid(
                "h.acl_actions has bits that are no 1 << MIDGE_ACL_*",
            ));
        }

        let user = User::new(raw.user, raw.user_free);
        Ok(Arc::new(Self { raw, user }))
    }
}

/// The callbacks of one running broker.
pub(crate) struct CHooks {
    raw: midge_hooks,
    gate: Gate,
    /// Whether clients before 5.0 have shared subscriptions: `mqtt.shared_v3`.
    shared_v3: bool,
    /// Of the broker, once it runs.
    later: OnceLock<Later>,
    /// Answers that are owed, to be forgotten with the broker or after their time.
    pending: Mutex<Vec<u64>>,
}

// SAFETY: as for HookTable.
unsafe impl Send for CHooks {}
// SAFETY: as above.
unsafe impl Sync for CHooks {}

impl CHooks {
    /// `closed` is called when no callback is under way or will be, and the host's pointer was let go.
    pub(crate) fn new(
        table: &Arc<HookTable>,
        shared_v3: bool,
        closed: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self {
            raw: table.raw,
            shared_v3,
            gate: Gate::new(table.user.clone(), closed),
            later: OnceLock::new(),
            pending: Mutex::default(),
        }
    }

    /// The broker runs.
    pub(crate) fn started(&self, broker: &Broker) {
        let _ = self.later.set(broker.later());
    }

    /// Lets no more callbacks begin, for good. Never waits.
    pub(crate) fn close(&self) {
        self.gate.close();
        for id in std::mem::take(&mut *self.pending.lock()) {
            verdict::forget(id);
        }
    }

    /// Callbacks that are under way.
    pub(crate) fn calls(&self) -> u32 {
        self.gate.inside()
    }

    pub(crate) fn thread_started(&self) {
        self.on_thread(self.raw.on_thread_start);
    }

    pub(crate) fn thread_stopped(&self) {
        self.on_thread(self.raw.on_thread_stop);
    }

    fn on_thread(&self, function: midge_thread_fn) {
        if let (Some(function), Some(pass)) = (function, self.gate.enter()) {
            // SAFETY: the host gave this function to be called like this.
            inside::run(|| unsafe { function(pass.user) });
        }
    }

    fn asks(&self, action: u8) -> bool {
        let actions = match self.raw.acl_actions {
            0 => 1 << MIDGE_ACL_PUBLISH | 1 << MIDGE_ACL_SUBSCRIBE,
            actions => actions,
        };
        self.raw.on_acl.is_some() && actions & (1 << action) != 0
    }

    fn acl(&self, may_defer: bool, request: &midge_acl_request) -> Option<Answer> {
        failpoints::point(failpoints::Point::Hook);
        let (function, pass) = (self.raw.on_acl?, self.gate.enter()?);
        // SAFETY: the host gave this function to be called like this.
        let ask = || unsafe { function(pass.user, request) };
        Some(verdict::ask(may_defer, None, ask))
    }

    fn authorize(&self, request: &midge_acl_request) -> Verdict {
        match self.acl(true, request) {
            Some(answer) => self.decide(answer),
            None => Verdict::deny(),
        }
    }

    /// The verdict of a callback; an answer that it owes is kept until the broker ends.
    fn decide(&self, answer: Answer) -> Verdict {
        let (verdict, owed) = answer.verdict();
        if let Some(id) = owed {
            self.keep(id);
        }
        verdict
    }

    /// Keeps the number of a later answer; forgets those that are no longer waited for.
    fn keep(&self, id: u64) {
        let mut pending = self.pending.lock();
        pending.retain(|id| {
            let owed = verdict::is_owed(*id);
            if !owed {
                verdict::forget(*id);
            }
            owed
        });
        pending.push(id);
    }
}

fn client_request(client: &ClientInfo, action: u8) -> midge_acl_request {
    midge_acl_request {
        struct_size: size_of::<midge_acl_request>() as u32,
        action,
        qos: 0,
        retain: 0,
        reserved: 0,
        client_id: midge_bytes::of(&*client.client_id),
        username: midge_bytes::of_option(client.username.as_deref()),
        peer_addr: midge_bytes::of(&*client.peer),
        topic: midge_bytes::EMPTY,
        group: midge_bytes::EMPTY,
    }
}

impl Hooks for CHooks {
    fn set(&self) -> HookSet {
        let mut set = HookSet::NONE;
        let mut add = |wanted, hook| {
            if wanted {
                set = set.union(hook);
            }
        };
        add(self.raw.on_auth.is_some(), HookSet::AUTHENTICATE);
        add(self.asks(MIDGE_ACL_PUBLISH), HookSet::AUTHORIZE_PUBLISH);
        add(self.asks(MIDGE_ACL_SUBSCRIBE), HookSet::AUTHORIZE_SUBSCRIBE);
        add(self.asks(MIDGE_ACL_RECEIVE), HookSet::AUTHORIZE_RECEIVE);
        add(self.raw.on_publish.is_some(), HookSet::INTERCEPT_PUBLISH);
        set
    }

    fn authenticate(&self, request: &ConnectRequest) -> Verdict {
        let (Some(function), Some(pass)) = (self.raw.on_auth, self.gate.enter()) else {
            return Verdict::deny();
        };

        let properties: Vec<_> = request
            .user_properties
            .iter()
            .flat_map(|(key, value)| [midge_bytes::of(key), midge_bytes::of(value)])
            .collect();
        let info = midge_connect_info {
            struct_size: size_of::<midge_connect_info>() as u32,
            protocol: event::protocol(request.client.version),
            clean_start: u8::from(request.clean_start),
            keep_alive: request.keep_alive,
            client_id: midge_bytes::of(&*request.client.client_id),
            username: midge_bytes::of_option(request.client.username.as_deref()),
            password: midge_bytes::of_option(request.password.as_deref()),
            peer_addr: midge_bytes::of(&*request.client.peer),
            listener: midge_bytes::of(&*request.client.listener),
            will_topic: midge_bytes::of_option(request.will.as_ref().map(|will| &will.topic)),
            user_props: match properties.as_slice() {
                [] => std::ptr::null(),
                some => some.as_ptr(),
            },
            user_props_len: properties.len(),
        };

        let (resolver, deferred) = Verdict::defer();
        let id = verdict::owe(resolver);
        let ask = || {
            // SAFETY: the host gave this function to be called like this.
            unsafe { function(pass.user, &raw const info, midge_decision { id }) }
        };

        self.decide(verdict::ask(true, Some((id, deferred)), ask))
    }

    fn authorize_publish(&self, client: &ClientInfo, message: &MessageRef<'_>) -> Verdict {
        self.authorize(&midge_acl_request {
            qos: message.qos as u8,
            retain: u8::from(message.retain),
            topic: midge_bytes::of(message.topic),
            ..client_request(client, MIDGE_ACL_PUBLISH)
        })
    }

    fn authorize_subscribe(
        &self,
        client: &ClientInfo,
        filter: &str,
        options: &SubscriptionOptions,
    ) -> Verdict {
        // Rules are about topics: the group of a shared subscription stands apart.
        let may_share = client.version == Version::V5 || self.shared_v3;
        let (group, topic) = match TopicFilter::new(filter) {
            Ok(parsed) if may_share => (parsed.share(), parsed.filter()),
            _ => (None, filter),
        };

        self.authorize(&midge_acl_request {
            qos: options.qos as u8,
            topic: midge_bytes::of(topic),
            group: midge_bytes::of_option(group),
            ..client_request(client, MIDGE_ACL_SUBSCRIBE)
        })
    }

    fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        let request = midge_acl_request {
            qos: message.qos as u8,
            retain: u8::from(message.retain),
            topic: midge_bytes::of(message.topic),
            ..client_request(client, MIDGE_ACL_RECEIVE)
        };
        self.acl(false, &request)
            .is_some_and(|answer| answer.is_yes())
    }

    fn intercept_publish(&self, origin: &Origin, message: &MessageRef<'_>) -> Interception {
        let (Some(function), Some(pass)) = (self.raw.on_publish, self.gate.enter()) else {
            return Interception::Drop;
        };

        let Ok(seen) = message_for_callback(message) else {
            // No memory: what cannot be decided is not let through.
            return Interception::Refuse(Refusal::new(ReasonCode::QuotaExceeded));
        };

        let seen = midge_message::owned(seen, origin.clone());
        let mut replace: *mut midge_message = std::ptr::null_mut();
        let answer = verdict::ask(false, None, || {
            // SAFETY: the host gave this function to be called like this.
            unsafe { function(pass.user, Arc::as_ptr(&seen), &raw mut replace) }
        });

        let replace = (!replace.is_null()).then(|| {
            // SAFETY: a reference to a message of this library, which the host gives away.
            unsafe { Arc::from_raw(replace.cast_const()) }
        });

        match (answer.is_yes(), replace) {
            (true, None) => Interception::Forward,
            (true, Some(other)) => Interception::Replace(Box::new(other.lend(self.later.get()))),
            (false, _) => match answer.refusal() {
                Some(refusal) => Interception::Refuse(refusal),
                None if *origin == Origin::Host => {
                    Interception::Refuse(Refusal::new(ReasonCode::NotAuthorized))
                }
                None => Interception::Drop,
            },
        }
    }
}

/// Whether a topic or filter is about any topic that another filter matches. "#", "+/plan" and
/// "secret/+" reach "secret/#", though only one of them begins with it. In on_acl, so that what is no
/// answer is a no, too:
/// `if (midge_filter_reaches(req->topic, "secret/#") != MIDGE_E_NOT_FOUND) return MIDGE_E_DENIED;`
///
/// @param asked   topic name or filter, as midge_acl_request.topic
/// @param filter  topic filter
/// @return MIDGE_OK (it does), MIDGE_E_NOT_FOUND (they have no topic in common), MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_filter_reaches(
    asked: midge_bytes,
    filter: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's bytes and string, or NULL.
        let (asked, filter) = unsafe {
            (
                ffi::text_of(asked.ptr.cast(), Some(asked.len), "asked")?,
                ffi::text(filter, "filter")?,
            )
        };

        let asked = TopicFilter::new(asked)
            .map_err(|_| Fault::invalid("asked is not a valid topic or filter"))?;
        let filter = TopicFilter::new(filter)
            .map_err(|_| Fault::invalid("filter is not a valid topic filter"))?;
        if asked.overlaps(&filter) {
            Ok(())
        } else {
            Err(Fault::new(MIDGE_E_NOT_FOUND, "no topic is in both"))
        }
    })
}

// QoS goes out as its number.
const _: () = assert!(QoS::ExactlyOnce as u8 == 2);
