//! What the sets of hooks say together. Each rule for several sets stands here once.

use midge_codec::{QoS, ReasonCode, SubscriptionOptions};

use super::Hub;
use crate::client::ClientInfo;
use crate::hook_depth::Hook;
use crate::hooks::{
    AuthStep, ConnectRequest, DeliveryVerdict, EnhancedVerdict, FIRST, HookSet, Hooks,
    Interception, Place, Refusal, Said, Verdict,
};
use crate::message::{MessageRef, Origin, OwnedMessage, SharedMessage};
use crate::time::Tick;

/// What becomes of a message on its way to one client.
pub(super) enum Decided {
    Deliver,
    Replace(SharedMessage),
    Drop,
}

impl Hub {
    /// Whether a client may connect: the first set with an answer decides. Without any it may not.
    pub(crate) fn authenticate(&self, request: &ConnectRequest, place: Place) -> Said {
        if !self.hooks.intersects(HookSet::AUTHENTICATE) {
            return Said::Yes;
        }

        for (hooks, behind) in self.hooks.asked(place, HookSet::AUTHENTICATE) {
            match self.in_hook(Hook::Authenticate, || hooks.authenticate(request)) {
                Verdict::Pass => {}
                Verdict::Allow => return Said::Yes,
                Verdict::Deny(refusal) => return Said::No(refusal),
                Verdict::Defer(deferred) => return Said::Later(deferred, behind),
            }
        }

        Said::No(Refusal::new(ReasonCode::BadUserNameOrPassword))
    }

    /// Starts an exchange of enhanced authentication: what the first set says that knows the method,
    /// and the place behind it.
    pub(crate) fn start_exchange(
        &self,
        step: &AuthStep,
        place: Place,
    ) -> Option<(EnhancedVerdict, Place)> {
        for (hooks, behind) in self.hooks.asked(place, HookSet::ENHANCED_AUTH) {
            match self.in_hook(Hook::EnhancedAuth, || hooks.enhanced_auth(step)) {
                EnhancedVerdict::Pass => {}
                verdict => return Some((verdict, behind)),
            }
        }

        None
    }

    /// Goes on with an exchange, with the set before a place, which has begun it.
    pub(crate) fn continue_exchange(&self, step: &AuthStep, place: Place) -> EnhancedVerdict {
        match self.hooks.before(place) {
            Some(hooks) => self.in_hook(Hook::EnhancedAuth, || hooks.enhanced_auth(step)),
            None => EnhancedVerdict::Pass,
        }
    }

    /// Whether a client may publish a message, as far as the sets from a place on decide.
    #[inline(always)]
    pub(crate) fn authorize_publish(
        &self,
        client: &ClientInfo,
        message: &MessageRef<'_>,
        place: Place,
    ) -> Said {
        let hook = (HookSet::AUTHORIZE_PUBLISH, Hook::AuthorizePublish);
        self.authorize(hook, place, |hooks| {
            hooks.authorize_publish(client, message)
        })
    }

    /// Whether a client may subscribe to a filter, as far as the sets from a place on decide.
    pub(crate) fn authorize_subscribe(
        &self,
        client: &ClientInfo,
        filter: &str,
        options: &SubscriptionOptions,
        place: Place,
    ) -> Said {
        let hook = (HookSet::AUTHORIZE_SUBSCRIBE, Hook::AuthorizeSubscribe);
        self.authorize(hook, place, |hooks| {
            hooks.authorize_subscribe(client, filter, options)
        })
    }

    /// The first no counts.
    #[inline(always)]
    fn authorize(
        &self,
        (set, hook): (HookSet, Hook),
        place: Place,
        ask: impl Fn(&dyn Hooks) -> Verdict,
    ) -> Said {
        for (hooks, behind) in self.hooks.asked(place, set) {
            match self.in_hook(hook, || ask(hooks)) {
                Verdict::Allow | Verdict::Pass => {}
                Verdict::Deny(refusal) => return Said::No(refusal),
                Verdict::Defer(deferred) => return Said::Later(deferred, behind),
            }
        }

        Said::Yes
    }

    /// Whether no set keeps a message from a client.
    pub(super) fn authorize_receive(&self, client: &ClientInfo, message: &MessageRef<'_>) -> bool {
        let (set, hook) = (HookSet::AUTHORIZE_RECEIVE, Hook::AuthorizeReceive);
        for (hooks, _) in self.hooks.asked(FIRST, set) {
            if !self.in_hook(hook, || hooks.authorize_receive(client, message)) {
                return false;
            }
        }

        true
    }

    /// What becomes of a message that was published, as far as the sets from a place on decide: the
    /// first that does not let it go on ends it.
    #[inline(always)]
    pub(super) fn intercept_publish(
        &self,
        origin: &Origin,
        message: &MessageRef<'_>,
        place: Place,
    ) -> Interception {
        for (hooks, behind) in self.hooks.asked(place, HookSet::INTERCEPT_PUBLISH) {
            match self.in_hook(Hook::InterceptPublish, || {
                hooks.intercept_publish(origin, message)
            }) {
                Interception::Forward => {}
                Interception::Replace(other) => return self.intercept_again(origin, other, behind),
                ended => return ended,
            }
        }

        Interception::Forward
    }

    /// The sets from a place on see what one before has made of a message.
    #[inline(never)]
    fn intercept_again(
        &self,
        origin: &Origin,
        changed: Box<OwnedMessage>,
        place: Place,
    ) -> Interception {
        // No set decides about a message that cannot be published; the caller refuses it.
        if self.check_parts(&changed.parts(), false).is_err() {
            return Interception::Replace(changed);
        }

        match self.intercept_publish(origin, &changed.parts(), place) {
            Interception::Forward => Interception::Replace(changed),
            said => said,
        }
    }

    /// The same for a message on its way to one client.
    #[inline(always)]
    pub(super) fn intercept_delivery(
        &self,
        receiver: (&str, QoS),
        message: &SharedMessage,
        now: Tick,
        place: Place,
    ) -> Decided {
        let (client_id, qos) = receiver;
        for (hooks, behind) in self.hooks.asked(place, HookSet::INTERCEPT_DELIVERY) {
            match self.in_hook(Hook::InterceptDelivery, || {
                hooks.intercept_delivery(client_id, message, qos.min(message.qos()))
            }) {
                DeliveryVerdict::Deliver => {}
                DeliveryVerdict::Drop => return Decided::Drop,
                DeliveryVerdict::Replace(other) => {
                    return self.intercept_delivery_again(receiver, (&other, message), now, behind);
                }
            }
        }

        Decided::Deliver
    }

    /// The sets from a place on see what one before has made of a message for one client. One that
    /// cannot be sent is as good as none.
    #[inline(never)]
    fn intercept_delivery_again(
        &self,
        receiver: (&str, QoS),
        (changed, original): (&OwnedMessage, &SharedMessage),
        now: Tick,
        place: Place,
    ) -> Decided {
        if self.check_parts(&changed.parts(), false).is_err() {
            return Decided::Drop;
        }

        let changed = self.replacement(changed, original, now);
        match self.intercept_delivery(receiver, &changed, now, place) {
            Decided::Deliver => Decided::Replace(changed),
            decided => decided,
        }
    }

    /// Tells every set what has happened. One that panics keeps it from no other.
    pub(super) fn call_life_hook(&self, hook: Hook, what: impl Fn(&dyn Hooks)) {
        for (hooks, _) in self.hooks.asked(FIRST, HookSet::LIFE) {
            self.catch_hook_panic(|| self.in_hook(hook, || what(hooks)));
        }
    }
}
