//! `include/midge.h` is what cbindgen makes of this crate. `MIDGE_UPDATE=1 cargo test -p midge-c
//! --test header` writes it anew.

#![allow(clippy::unwrap_used)] // a test may fail

use std::path::{Path, PathBuf};

const HEAD: &str = include_str!("header_head.h");
const TAIL: &str = include_str!("header_tail.h");

fn generated(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_config(cbindgen::Config {
            header: Some(HEAD.trim_end().to_owned()),
            after_includes: Some(TAIL.trim_end().to_owned()),
            ..config
        })
        .with_crate(root)
        .generate()
        .unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .map(|line| in_parentheses(line) + "\n")
        .collect()
}

/// A negative number in a macro needs parentheses.
fn in_parentheses(line: &str) -> String {
    match line.rsplit_once(' ') {
        Some((name, number)) if line.starts_with("#define ") && number.starts_with('-') => {
            format!("{name} ({number})")
        }
        _ => line.to_owned(),
    }
}

#[test]
fn the_committed_header_is_up_to_date() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../include/midge.h");
    let header = generated(&root);
    if std::env::var_os("MIDGE_UPDATE").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let first = committed
        .lines()
        .zip(header.lines())
        .position(|(a, b)| a != b);
    assert!(
        committed == header,
        "include/midge.h is stale from line {:?} on: MIDGE_UPDATE=1 cargo test -p midge-c --test header",
        first.map(|line| line + 1)
    );
}
