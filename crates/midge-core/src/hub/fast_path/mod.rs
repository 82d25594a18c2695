//! The fast path: messages that need no decision go through together.
//!
//! - [`run`]: packets of one topic that came in a row, under one lock of each receiver. The session's
//!   half is `session/fast_path`, their parser `runs`.
//! - [`inside`]: messages of the host that only its own subscriptions get.
//!
//! The conditions stand in `hub/rules` alone: [`FastPath::eligible`](super::rules::FastPath)
//! of packets, `Hub::eligible_route` of topics and receivers. It makes no difference to anything but
//! speed: `midge-testkit`'s differential test compares both ways.

pub(super) mod inside;
pub(super) mod run;
