//! All schedules of a queue to the host: its writers and its readers.

use std::sync::Arc;

use midge_codec::QoS;
use midge_core::{OwnedMessage, Queue, QueueLimits, Received, Sink, Waiting};
use shuttle::future::block_on;
use shuttle::thread;

use crate::explore::explore_all;

fn received() -> Received {
    let message = OwnedMessage::new("t", "x").prepare().unwrap();
    Received::new(message, false, QoS::AtMostOnce, None)
}

fn new_queue(items: usize) -> Arc<Queue<Received>> {
    Arc::new(Queue::new(QueueLimits::new(items, 1000)))
}

/// Pushes, and wakes if that is asked for.
fn push(queue: &Queue<Received>) {
    if Sink::push(queue, received()).awaited {
        Sink::wake(queue);
    }
}

#[test]
fn a_waiting_thread_is_woken() {
    explore_all(|| {
        let queue = new_queue(9);
        let writer = queue.clone();

        let pushes = thread::spawn(move || push(&writer));
        assert!(queue.recv_timeout(None).is_ok());
        pushes.join().unwrap();
    });
}

#[test]
fn a_waiting_task_is_woken() {
    explore_all(|| {
        let queue = new_queue(9);
        let writer = queue.clone();

        let pushes = thread::spawn(move || push(&writer));
        assert!(block_on(queue.recv()).is_ok());
        pushes.join().unwrap();
    });
}

#[test]
fn a_waiting_thread_is_woken_at_the_end() {
    explore_all(|| {
        let queue = new_queue(9);
        let writer = queue.clone();

        let closes = thread::spawn(move || Sink::close(&*writer));
        assert!(queue.recv_timeout(None).is_err());
        closes.join().unwrap();
    });
}

/// One task stops waiting while another one goes on.
#[test]
fn a_task_that_stops_waiting_takes_no_wake_up_along() {
    explore_all(|| {
        let queue = new_queue(9);
        let (writer, leaver) = (queue.clone(), queue.clone());

        let pushes = thread::spawn(move || push(&writer));
        let leaves = thread::spawn(move || {
            let mut waiting = Waiting::default();
            let first = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(leaver.poll_recv(cx, &mut waiting).is_ready())
            });
            let took = block_on(first);
            leaver.stop_waiting(&mut waiting);
            took
        });
        if !leaves.join().unwrap() {
            assert!(block_on(queue.recv()).is_ok());
        }
        pushes.join().unwrap();
    });
}

/// A reader that waits again and again sees everything that was not lost.
#[test]
fn a_full_queue_counts_what_it_loses() {
    explore_all(|| {
        let queue = new_queue(1);
        let writer = queue.clone();

        let pushes = thread::spawn(move || {
            push(&writer);
            push(&writer);
            Sink::close(&*writer);
        });
        let mut seen = 0;
        while queue.recv_timeout(None).is_ok() {
            seen += 1;
        }
        pushes.join().unwrap();
        assert_eq!(seen + queue.lost(), 2);
    });
}
