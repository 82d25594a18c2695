//! Wall time of the hot paths: `cargo bench`.

use divan::Bencher;
use divan::counter::ItemsCount;
use midge_micro::{PATHS, Path};

fn main() {
    divan::main();
}

#[divan::bench(args = PATHS.iter().map(|path| path.name))]
fn path(bencher: Bencher<'_, '_>, name: &str) {
    let Some(Path { units, setup, .. }) = PATHS.iter().find(|path| path.name == name) else {
        return;
    };
    let call = setup();
    bencher.counter(ItemsCount::new(*units)).bench_local(call);
}
