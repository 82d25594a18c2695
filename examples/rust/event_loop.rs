//! A host with an event loop of its own: one thread, one `poll` for everything that it waits for, and the
//! broker's messages as one descriptor among the others.
//!
//! `cargo run --example event_loop` (Unix)

#![allow(clippy::print_stdout)] // an example talks to its reader

use std::error::Error;

#[cfg(unix)]
mod unix {
    use std::error::Error;
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsFd, OwnedFd};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::thread;

    use midge::{Broker, Message, PublishError, ReadyFd, Stop, Subscription};
    use rustix::event::{PollFd, PollFlags, poll};

    /// A subscription that an event loop can wait for.
    struct Readings {
        subscription: Subscription,
        ready: Arc<Mutex<ReadyFd>>,
        /// What the loop polls, without taking the lock.
        descriptor: OwnedFd,
    }

    impl Readings {
        fn new(broker: &Broker, filter: &str) -> Result<Self, Box<dyn Error>> {
            let subscription = broker.subscribe(filter)?;
            let ready = ReadyFd::new()?;
            let descriptor = ready.as_fd().try_clone_to_owned()?;
            let ready = Arc::new(Mutex::new(ready));

            // On the thread that brings a message, which must not wait: it sets the descriptor, no more.
            let brought = ready.clone();
            subscription.on_ready(move || lock(&brought).set(true));
            Ok(Self {
                subscription,
                ready,
                descriptor,
            })
        }

        /// Takes what has come. The descriptor is cleared first: a message that comes meanwhile sets it
        /// again, so that none stays unseen.
        fn take(&self) -> Vec<Message> {
            lock(&self.ready).clear();
            std::iter::from_fn(|| self.subscription.try_recv()).collect()
        }
    }

    fn lock(ready: &Mutex<ReadyFd>) -> MutexGuard<'_, ReadyFd> {
        ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a caller with what has been read so far.
    fn answer(caller: &mut TcpStream, seen: &[Message]) -> io::Result<()> {
        for message in seen {
            caller.write_all(message.topic().as_bytes())?;
            caller.write_all(b" = ")?;
            caller.write_all(message.payload())?;
            caller.write_all(b"\n")?;
        }
        Ok(())
    }

    pub(crate) fn run() -> Result<(), Box<dyn Error>> {
        let broker = Broker::builder().listen("tcp://127.0.0.1:0").start()?;
        let readings = Readings::new(&broker, "pump/#")?;

        // What else this host serves: a port that tells what the pump has said.
        let port = TcpListener::bind("127.0.0.1:0")?;
        let mut reader = TcpStream::connect(port.local_addr()?)?;

        let publisher = broker.clone();
        let pump = thread::spawn(move || {
            for pressure in ["2.1 bar", "2.2 bar", "9.8 bar"] {
                publisher.publish("pump/1/pressure", pressure)?;
            }
            Ok::<_, PublishError>(())
        });

        let (mut seen, mut caller) = (Vec::new(), None);
        while caller.is_none() || seen.len() < 3 {
            let mut waited = [
                PollFd::new(&readings.descriptor, PollFlags::IN),
                PollFd::new(&port, PollFlags::IN),
            ];
            poll(&mut waited, None)?;

            let [has_messages, has_caller] = waited.map(|fd| !fd.revents().is_empty());
            if has_messages {
                seen.extend(readings.take());
            }
            if has_caller {
                caller = Some(port.accept()?.0);
            }
        }

        pump.join().map_err(|_| "the pump has panicked")??;
        if let Some(mut caller) = caller {
            answer(&mut caller, &seen)?;
        }

        let mut told = String::new();
        reader.read_to_string(&mut told)?;
        print!("{told}");
        assert_eq!(told.lines().count(), 3);
        assert!(told.ends_with("pump/1/pressure = 9.8 bar\n"));
        broker.stop(Stop::Now)?;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(unix)]
    unix::run()?;
    #[cfg(not(unix))]
    println!("descriptors that an event loop waits for are a thing of Unix");
    Ok(())
}
