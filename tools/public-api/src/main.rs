//! Compares the public API of the published crates with the committed `public-api.txt` of each, and
//! checks that whatever stands in a public signature of `midge` can be named from `midge`.
//!
//! ```sh
//! cargo run --locked --manifest-path tools/public-api/Cargo.toml            # compares
//! cargo run --locked --manifest-path tools/public-api/Cargo.toml -- --save  # commits to a change
//! ```
//!
//! It reads the JSON of rustdoc. That is unstable, so `RUSTC_BOOTSTRAP=1` lets the stable toolchain
//! write it: no other one has to be installed.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The published libraries, in the order in which they depend on each other.
const CRATES: [&str; 3] = ["midge-codec", "midge-core", "midge"];

/// What `midge` exports under another name.
const RENAMED: [&str; 1] = ["midge_core::Message"];

fn main() -> ExitCode {
    let save = std::env::args().any(|argument| argument == "--save");
    match run(save) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("public API: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives the number of faults.
fn run(save: bool) -> Result<usize, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut faults = 0;
    let mut all = Vec::new();
    for name in CRATES {
        let lines = public_api(&root, name)?;
        let path = root.join("crates").join(name).join("public-api.txt");
        if save {
            std::fs::write(&path, lines.join("\n") + "\n")?;
        } else {
            faults += compare(&path, &lines);
        }
        all.push(lines);
    }

    if faults > 0 {
        println!("If that is meant, repeat this with --save, and say so in CHANGELOG.md.");
    }
    Ok(faults + unnamed(&all))
}

/// The public items of a crate, one a line.
fn public_api(root: &Path, name: &str) -> Result<Vec<String>, Box<dyn Error>> {
    // A directory of its own: that RUSTC_BOOTSTRAP is set would have the others built again.
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => root.join("target"),
    };
    let target = target.join("public-api");
    let status = Command::new(env!("CARGO"))
        .args(["rustdoc", "--quiet", "--lib", "--all-features", "--package"])
        .args([name, "--target-dir"])
        .arg(&target)
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .args(["--cap-lints", "allow"])
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(root)
        .status()?;
    if !status.success() {
        return Err(format!("rustdoc of {name}: {status}").into());
    }

    let json = target.join("doc").join(name.replace('-', "_") + ".json");
    let api = public_api::Builder::from_rustdoc_json(&json)
        .sorted(true)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .map_err(|error| {
            format!("{error}. If the toolchain is another one, so must be the version of public-api in tools/public-api/Cargo.toml")
        })?;
    Ok(api.items().map(ToString::to_string).collect())
}

/// Tells what has come and gone.
fn compare(path: &Path, lines: &[String]) -> usize {
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let before: BTreeSet<&str> = committed.lines().collect();
    let now: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let gone = before.difference(&now).map(|line| format!("- {line}"));
    let come = now.difference(&before).map(|line| format!("+ {line}"));
    let changes: Vec<String> = gone.chain(come).collect();
    if !changes.is_empty() {
        println!("{} is not what the crate exports:", path.display());
        changes.iter().for_each(|change| println!("{change}"));
    }
    changes.len()
}

/// Tells which types stand in the public signatures of `midge` and cannot be named from there.
fn unnamed(all: &[Vec<String>]) -> usize {
    let Some((midge, inner)) = all.split_last() else {
        return 0;
    };
    let exported: BTreeSet<&str> = (midge.iter())
        .filter_map(|line| line.strip_prefix("pub use midge::"))
        .map(|name| name.rsplit("::").next().unwrap_or(name))
        .collect();
    let is_exported = |path: &str| {
        let name = path.rsplit("::").next().unwrap_or(path);
        RENAMED.contains(&path) || exported.contains(name)
    };

    let mut missing = BTreeSet::new();
    for line in inner.iter().flatten() {
        let paths = paths(line);
        // The item itself comes first; it matters if it is exported.
        if paths.first().is_some_and(|item| is_exported(item)) {
            missing.extend(paths.into_iter().filter(|path| !is_exported(path)));
        }
    }
    missing.extend(
        (midge.iter())
            .flat_map(|line| paths(line))
            .filter(|path| !is_exported(path)),
    );
    for path in &missing {
        println!("{path} stands in a public signature of midge, which does not export it");
    }
    missing.len()
}

/// The types of the inner crates that a line names, as `crate::Type`.
fn paths(line: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = line.split(|c: char| !is_name(c));
    let inner =
        words.filter(|word| word.starts_with("midge_core::") || word.starts_with("midge_codec::"));
    inner
        .filter_map(|word| {
            let (krate, rest) = word.split_once("::")?;
            let name = rest.split("::").next()?;
            let is_type = name.starts_with(char::is_uppercase);
            is_type.then(|| &word[..krate.len() + 2 + name.len()])
        })
        .collect()
}
