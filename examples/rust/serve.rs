//! The smallest broker program: `cargo run --example serve -- 127.0.0.1:1883`.
#![allow(clippy::print_stdout)] // an example talks to its reader
use midge::{Broker, Stop};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:1883".into());
    let broker = Broker::builder()
        .listen(format!("tcp://{address}"))
        .start()?;
    println!(
        "clients connect to {}; Enter stops the broker",
        broker.url()
    );
    std::io::stdin().read_line(&mut String::new())?;
    broker.stop(Stop::Now)?;
    Ok(())
}
