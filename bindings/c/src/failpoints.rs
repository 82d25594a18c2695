//! Panics on purpose, in the tests of this crate: inside a call, a callback's surroundings, a thread.

#[cfg(test)]
use std::sync::atomic::{AtomicU8, Ordering};

/// Where a panic can be injected.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(crate) enum Point {
    /// Where the engine asks a callback of the host.
    Hook = 1,
    /// On a dispatch thread.
    Task = 2,
}

#[cfg(test)]
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Panics if a test wants it to happen here next.
#[inline]
pub(crate) fn point(point: Point) {
    #[cfg(test)]
    if NEXT
        .compare_exchange(point as u8, 0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
    {
        panic!("injected");
    }
    let _ = point;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail
mod tests {
    use std::ffi::{CStr, c_char, c_void};
    use std::ptr::null_mut;
    use std::sync::atomic::AtomicUsize;

    use midge_testkit::{Client, Connect, Subscribe};
    use parking_lot::Mutex;

    use super::*;
    use crate::broker_handle::midge_broker;
    use crate::client::*;
    use crate::config::*;
    use crate::event::*;
    use crate::hooks::*;
    use crate::inspect::*;
    use crate::lifecycle::*;
    use crate::log::*;
    use crate::log_api::*;
    use crate::publish::midge_publish;
    use crate::queue::midge_queue;
    use crate::queue_api::*;
    use crate::status::{MIDGE_OK, midge_status};

    unsafe extern "C" fn allow(_: *mut c_void, _: *const midge_acl_request) -> midge_status {
        MIDGE_OK
    }

    fn start() -> midge_broker {
        let (mut config, mut broker) = (null_mut(), midge_broker { id: 0 });
        // SAFETY: all zero is a structure without callbacks.
        let mut hooks: midge_hooks = unsafe { std::mem::zeroed() };
        hooks.struct_size = size_of::<midge_hooks>() as u32;
        hooks.on_acl = Some(allow);
        // SAFETY: variables of this function, as the header wants them.
        unsafe {
            assert_eq!(midge_config_new(&raw mut config), MIDGE_OK);
            assert_eq!(midge_config_set_hooks(config, &raw const hooks), MIDGE_OK);
            assert_eq!(midge_broker_start(config, &raw mut broker), MIDGE_OK);
            midge_config_free(config);
        }
        broker
    }

    #[cfg(unix)]
    unsafe fn stream(fd: i32) -> std::os::unix::net::UnixStream {
        // SAFETY: the caller's.
        unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
    }

    #[cfg(windows)]
    unsafe fn stream(socket: i32) -> std::net::TcpStream {
        // SAFETY: the caller's.
        unsafe { std::os::windows::io::FromRawSocket::from_raw_socket(socket as u64) }
    }

    fn client(broker: midge_broker, client_id: &str) -> Client {
        let mut fd = -1;
        // SAFETY: a variable of this function.
        let status = unsafe { midge_broker_connect_fd(broker, &raw mut fd) };
        assert_eq!(status, MIDGE_OK);
        // SAFETY: the descriptor is new and ours.
        let mut client = unsafe { Client::over(stream(fd)) };
        client.send(Connect::new(4, client_id).bytes());
        assert_eq!(client.expect_connack().code, 0);
        client
    }

    fn panics(broker: midge_broker) -> u64 {
        // SAFETY: all zero is a value; the structure says its size.
        unsafe {
            let mut stats: midge_stats = std::mem::zeroed();
            stats.struct_size = size_of::<midge_stats>() as u32;
            assert_eq!(midge_broker_stats(broker, &raw mut stats), MIDGE_OK);
            stats.panics
        }
    }

    unsafe extern "C" fn count(user: *mut c_void, _: *const midge_event) {
        // SAFETY: the test gives a counter that outlives the queue.
        let counter = unsafe { &*user.cast::<AtomicUsize>() };
        counter.fetch_add(1, Ordering::AcqRel);
    }

    unsafe extern "C" fn keep(user: *mut c_void, level: i32, text: *const c_char) {
        assert_eq!(level, MIDGE_LOG_ERROR);
        // SAFETY: the test gives a list that is there until the log is unset; a text is NUL-terminated.
        let (lines, text) = unsafe { (&*user.cast::<Mutex<Vec<String>>>(), CStr::from_ptr(text)) };
        lines.lock().push(text.to_str().unwrap().to_owned());
    }

    #[test]
    fn a_panic_at_a_hook_or_on_a_thread_is_contained_and_told() {
        let lines = Mutex::new(Vec::<String>::new());
        let list = (&raw const lines).cast_mut().cast();
        // SAFETY: the list outlives the setting.
        let status = unsafe { midge_log_set(Some(keep), MIDGE_LOG_ERROR, list, None) };
        assert_eq!(status, MIDGE_OK);
        std::panic::set_hook(Box::new(panicked));
        let broker = start();
        let (mut first, mut second) = (client(broker, "a"), client(broker, "b"));
        let subscribe = Subscribe::new(1).filter("t", 0).bytes_for(4);
        NEXT.store(Point::Hook as u8, Ordering::Release);
        first.send(&subscribe);
        first.expect_closed();
        assert_eq!(panics(broker), 1);
        second.send(&subscribe);
        assert_eq!(second.expect_suback(1).codes, [0]);

        let seen = AtomicUsize::new(0);
        let user = (&raw const seen).cast_mut().cast();
        let (mut queue, mut host) = (midge_queue { id: 0 }, midge_client { id: 0 });
        // SAFETY: variables of this function; the counter outlives the queue.
        unsafe {
            assert_eq!(
                midge_queue_new(broker, 0, 8, 0, 0, &raw mut queue),
                MIDGE_OK
            );
            let nameless = std::ptr::null();
            assert_eq!(
                midge_client_new(broker, nameless, queue, &raw mut host),
                MIDGE_OK
            );
            assert_eq!(midge_client_subscribe(host, c"t".as_ptr(), 0, 0), MIDGE_OK);
            assert_eq!(
                midge_queue_dispatch(queue, Some(count), user, None),
                MIDGE_OK
            );
            NEXT.store(Point::Task as u8, Ordering::Release);
            for _ in 0..2 {
                let status = midge_publish(broker, c"t".as_ptr(), std::ptr::null(), 0, 0, false);
                assert_eq!(status, MIDGE_OK);
            }
        }

        while seen.load(Ordering::Acquire) == 0 {
            std::thread::yield_now(); // the second message comes although the first panicked
        }
        assert_eq!(NEXT.load(Ordering::Acquire), 0);
        assert_eq!(panics(broker), 2);
        // Other tests may panic, too.
        let told = || {
            let line = "a panic inside midge was caught, at bindings/c/src/failpoints.rs:";
            let lines = lines.lock();
            lines
                .iter()
                .filter(|told| told.starts_with(line) && told.ends_with(": injected"))
                .count()
        };
        while told() < 2 {
            std::thread::yield_now(); // one comes from a thread of the broker
        }
        assert_eq!(midge_broker_free(broker), MIDGE_OK);
        assert_eq!(seen.load(Ordering::Acquire), 1);
        // SAFETY: nothing is given.
        let status = unsafe { midge_log_set(None, MIDGE_LOG_OFF, null_mut(), None) };
        assert_eq!(status, MIDGE_OK);
        drop(std::panic::take_hook());
        assert_eq!(told(), 2);
    }
}
