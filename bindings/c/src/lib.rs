//! The C library of Midge: `include/midge.h` is generated from this crate. It translates between
//! C and the Rust handle and decides nothing itself.
//!
//! Every exported function goes through [`ffi::enter`]: it refuses to work in a forked child,
//! catches panics, and keeps the details of a failure for `midge_last_error`. Handles are numbers
//! that are looked up in a [`table::Table`] and never used twice.

#![allow(non_camel_case_types)] // C's own names

mod args;
mod bell;
mod broker_handle;
mod by_length;
mod callback;
mod client;
mod config;
mod descriptor;
mod dispatch;
mod event;
mod failpoints;
mod ffi;
mod hooks;
mod inside;
mod inspect;
mod last_error;
mod later;
mod life;
mod lifecycle;
mod log;
mod log_api;
mod message;
mod names;
mod polling;
mod prepare;
mod process;
mod publish;
mod queue;
mod queue_api;
mod receipt;
mod snapshot;
mod source;
mod stamp;
mod status;
mod table;
mod verdict;
mod version;
mod waiting;
