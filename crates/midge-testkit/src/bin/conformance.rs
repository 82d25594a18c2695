//! Writes `docs/conformance.md`: every statement of the specifications, the tests that check it,
//! and what came out.
//!
//! ```text
//! tests/conformance/spec/*.tsv  statements          \
//! crates/**/*.rs                `Covers:` lines      >  docs/conformance.md
//! tests/conformance/reasons.tsv why there is no test /
//! ```
//!
//! `conformance [--check] --results FILE`: FILE is the output of `cargo test --workspace`, standard
//! error included, and fills the result column. It fails when a statement has neither a test nor a
//! reason, when a test or reason names no known statement, and when a test that covers a statement
//! failed or was not run: the document says nothing that a run did not show. With `--check` nothing is
//! written, and a document that differs from the run fails.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Split in two, so that this file has no such line itself.
const MARK: &str = concat!("/// ", "Covers: ");
/// What a test of behaviour that no text demands lists.
const NONE: &str = "none";

/// File, title, prefix of its statements in a `Covers:` line, columns of the requirement.
const TABLES: [(&str, &str, &str, &[&str]); 5] = [
    ("mqtt-v5.tsv", "MQTT 5.0", "v5:", &["requirement"]),
    (
        "mqtt-v5-nonnormative.tsv",
        "MQTT 5.0, beyond the numbered statements",
        "",
        &["behaviour"],
    ),
    ("mqtt-v3.1.1.tsv", "MQTT 3.1.1", "v3:", &["requirement"]),
    (
        "mqtt-v3.1.1-unnumbered.tsv",
        "MQTT 3.1.1, unnumbered",
        "",
        &["behaviour"],
    ),
    (
        "mqtt-v3.1-differences.tsv",
        "MQTT 3.1 where it differs",
        "",
        &["topic", "broker_rule_proposed"],
    ),
];

struct Row {
    /// As in a `Covers:` line.
    id: String,
    requirement: String,
}

struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// The test binary: a folder or file below `tests`, or the crate for tests in its sources.
    binary: String,
    /// Module and function, as the test runner prints it.
    path: String,
}

/// Results by binary and path.
type Results = BTreeMap<(String, String), String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn tables() -> Result<Vec<Table>, String> {
    let mut tables = Vec::new();
    for (file, title, prefix, columns) in TABLES {
        let text = read(&root().join("tests/conformance/spec").join(file))?;
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        let mut rows = Vec::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let cells: Vec<&str> = line.split('\t').collect();
            let cell = |name: &str| {
                let index = header.iter().position(|column| *column == name);
                let cell = index.and_then(|index| cells.get(index));
                cell.ok_or_else(|| format!("{file}: no {name} in {line:?}"))
            };
            let texts = columns.iter().map(|name| cell(name).copied());
            let texts: Vec<&str> = texts.collect::<Result<_, _>>()?;
            rows.push(Row {
                id: format!("{prefix}{}", cell("id")?),
                requirement: texts.join(": "),
            });
        }
        tables.push(Table { title, rows });
    }

    Ok(tables)
}

/// Statements without a test, and why.
fn reasons() -> Result<BTreeMap<String, String>, String> {
    let text = read(&root().join("tests/conformance/reasons.tsv"))?;
    let mut reasons = BTreeMap::new();
    for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
        let (id, reason) = line
            .split_once('\t')
            .ok_or_else(|| format!("no tab in {line:?}"))?;
        if reasons
            .insert(id.to_owned(), reason.trim().to_owned())
            .is_some()
        {
            return Err(format!("two reasons for {id}"));
        }
    }
    Ok(reasons)
}

fn sources(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

/// Test binary and module path of a source file.
fn place(file: &Path) -> Option<(String, Vec<String>)> {
    let crates = root().join("crates");
    let parts: Vec<String> = file
        .strip_prefix(&crates)
        .ok()?
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let (binary, modules) = match &parts[..] {
        [_, tests, binary, modules @ ..] if tests == "tests" => (binary.clone(), modules),
        [name, _, modules @ ..] => (name.clone(), modules),
        _ => return None,
    };

    let hidden = ["mod", "main", "lib"];
    let modules = modules
        .iter()
        .filter(|module| !hidden.contains(&module.as_str()));
    Some((binary, modules.cloned().collect()))
}

/// The name in a line like `fn name() {`.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    let (name, _) = rest.split_once('(')?;
    Some(name)
}

/// Tests by statement, and what is wrong with the `Covers:` lines.
fn coverage(errors: &mut Vec<String>) -> BTreeMap<String, BTreeSet<Test>> {
    let mut files = BTreeSet::new();
    sources(&root().join("crates"), &mut files);

    let mut covered: BTreeMap<String, BTreeSet<Test>> = BTreeMap::new();
    for file in files {
        let (Some((binary, modules)), Ok(text)) = (place(&file), fs::read_to_string(&file)) else {
            continue;
        };
        let conformance = file.starts_with(root().join("crates/midge-testkit/tests"));
        let mut ids: Option<&str> = None;
        let mut is_test = false;
        let mut inner = false;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let mut wrong = |what| errors.push(format!("{}:{number}: {what}", file.display()));
            inner |= line == "mod tests {";
            if let Some(list) = line.strip_prefix(MARK) {
                if ids.replace(list).is_some() {
                    wrong("two lists for one test");
                }
            } else if line == "#[test]" {
                is_test = true;
            } else if line.starts_with("#[ignore") && ids.is_some() {
                wrong("an ignored test covers nothing");
            } else if let Some(name) = function(line).filter(|_| is_test || ids.is_some()) {
                if !is_test || (conformance && ids.is_none()) {
                    wrong("a test and its list belong together");
                }

                let mut path = modules.clone();
                path.extend(inner.then(|| "tests".to_owned()));
                path.push(name.to_owned());
                let test = Test {
                    binary: binary.clone(),
                    path: path.join("::"),
                };
                for id in ids
                    .take()
                    .unwrap_or_default()
                    .split(", ")
                    .filter(|id| !id.is_empty() && *id != NONE)
                {
                    covered
                        .entry(id.to_owned())
                        .or_default()
                        .insert(test.clone());
                }
                is_test = false;
            }
        }
        if ids.is_some() {
            errors.push(format!("{}: a list without a test", file.display()));
        }
    }

    covered
}

/// Results in the output of `cargo test`, with the binary where it says which runs.
fn results(output: &str) -> Results {
    let mut results = Results::new();
    let mut binary = String::new();
    for line in output.lines().map(str::trim) {
        if let Some(running) = line.strip_prefix("Running ") {
            let file = running.strip_prefix("tests/").unwrap_or("");
            binary = file
                .split(['/', '.', ' '])
                .next()
                .unwrap_or_default()
                .to_owned();
        } else if let Some((path, result)) = line
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... "))
        {
            let result = match result {
                "ok" => "passed",
                "FAILED" => "failed",
                other => other,
            };
            // Two crates may have a test of one name; the worse result counts.
            let known = results.entry((binary.clone(), path.to_owned()));
            let known = known.or_insert_with(|| "passed".to_owned());
            if known == "passed" || result == "failed" {
                result.clone_into(known);
            }
        }
    }

    results
}

/// The worst result of some tests.
fn result(tests: &BTreeSet<Test>, results: &Results) -> String {
    let mut worst = "passed".to_owned();
    for test in tests {
        let named = results.get(&(test.binary.clone(), test.path.clone()));
        let result = named.or_else(|| results.get(&(String::new(), test.path.clone())));
        match result.map(String::as_str) {
            Some("passed") => {}
            Some("failed") => return "failed".into(),
            other => worst = other.unwrap_or("not run").to_owned(),
        }
    }
    worst
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('*', "\\*")
        .replace('<', "&lt;")
}

/// The document as lines. The result is the last cell of a row.
fn render(
    tables: &[Table],
    covered: &BTreeMap<String, BTreeSet<Test>>,
    reasons: &BTreeMap<String, String>,
    results: &Results,
) -> String {
    let mut out = String::from(
        "# Conformance\n\nEvery statement of the specifications, in words of our own, with the tests \
         that check it. Made of a run of all tests \
         (see tests/conformance/README.md), checked against the run of the gate; do not edit.\n\n| Table | Statements | with tests | with a reason instead |\n\
         | --- | ---: | ---: | ---: |\n",
    );

    for table in tables {
        let tested = table
            .rows
            .iter()
            .filter(|row| covered.contains_key(&row.id))
            .count();
        let reasoned = table
            .rows
            .iter()
            .filter(|row| !covered.contains_key(&row.id) && reasons.contains_key(&row.id));
        let (all, reasoned) = (table.rows.len(), reasoned.count());
        let _ = writeln!(out, "| {} | {all} | {tested} | {reasoned} |", table.title);
    }

    for table in tables {
        let _ = write!(
            out,
            "\n## {}\n\n| Statement | Requirement | Tests | Result |\n| --- | --- | --- | --- |\n",
            table.title
        );
        for row in &table.rows {
            let (tests, result) = match (covered.get(&row.id), reasons.get(&row.id)) {
                (Some(tests), _) => {
                    let names = tests
                        .iter()
                        .map(|test| format!("`{}::{}`", test.binary, test.path));
                    (
                        names.collect::<Vec<_>>().join("<br>"),
                        result(tests, results),
                    )
                }
                (None, Some(reason)) => (escape(reason), "no test".into()),
                (None, None) => ("none".into(), "missing".into()),
            };
            let id = row.id.split_once(':').map_or(row.id.as_str(), |(_, id)| id);
            let _ = writeln!(
                out,
                "| {id} | {} | {tests} | {result} |",
                escape(&row.requirement)
            );
        }
    }

    out
}

/// Statements that no run has shown to hold.
fn not_shown(covered: &BTreeMap<String, BTreeSet<Test>>, results: &Results) -> Vec<String> {
    let results = covered
        .iter()
        .map(|(id, tests)| (id, result(tests, results)));
    let not_shown = results.filter(|(_, result)| result != "passed");
    not_shown
        .map(|(id, result)| format!("{id}: a test that covers it: {result}"))
        .collect()
}

/// The first line in which the document differs from what it must be.
fn difference(there: &str, document: &str) -> Option<String> {
    if there == document {
        return None;
    }
    let mut lines = (1..).zip(there.lines().zip(document.lines()));
    let first = lines.find(|(_, (is, must))| is != must);
    Some(match first {
        Some((number, (is, must))) => format!("line {number} is\n  {is}\nand must be\n  {must}"),
        None => "it has lines too many or too few".to_owned(),
    })
}

fn run() -> Result<Vec<String>, String> {
    let mut check = false;
    let mut output = None;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => check = true,
            "--results" => output = Some(arguments.next().ok_or("--results FILE")?),
            other => return Err(format!("unknown argument {other}")),
        }
    }
    let tables = tables()?;
    let reasons = reasons()?;
    let mut errors = Vec::new();
    let covered = coverage(&mut errors);

    let known: BTreeSet<&String> = tables
        .iter()
        .flat_map(|t| &t.rows)
        .map(|row| &row.id)
        .collect();
    for id in covered.keys().filter(|id| !known.contains(id)) {
        errors.push(format!("a test covers {id}, which is no statement"));
    }
    for id in reasons.keys() {
        if !known.contains(id) {
            errors.push(format!("a reason for {id}, which is no statement"));
        } else if covered.contains_key(id) {
            errors.push(format!("a reason for {id}, which has a test"));
        }
    }
    for id in known {
        if !covered.contains_key(id) && !reasons.contains_key(id) {
            errors.push(format!("{id} has neither a test nor a reason"));
        }
    }

    let output = output.ok_or(
        "--results FILE is missing: the output of `cargo test --workspace`, standard error included",
    )?;
    let results = results(&read(Path::new(&output))?);
    errors.extend(not_shown(&covered, &results));
    let document = render(&tables, &covered, &reasons, &results);
    let path = root().join("docs/conformance.md");
    if check {
        let there = fs::read_to_string(&path).unwrap_or_default();
        if let Some(what) = difference(&there, &document) {
            errors.push(format!("docs/conformance.md is stale: {what}"));
        }
    } else if errors.is_empty() {
        fs::write(&path, document).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(errors)
}

fn main() -> ExitCode {
    let errors = run().unwrap_or_else(|error| vec![error]);
    for error in &errors {
        let _ = writeln!(std::io::stderr(), "{error}");
    }
    if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(path: &str) -> BTreeSet<Test> {
        [Test {
            binary: "v5".into(),
            path: path.into(),
        }]
        .into()
    }

    #[test]
    fn results_come_from_the_output_of_the_test_runner() {
        let output = "     Running tests/v5/main.rs (target/debug/deps/v5-0)\n\
                      test a::one ... ok\ntest a::two ... FAILED\n\
                      Running unittests src/lib.rs (target/debug/deps/x-0)\ntest b::three ... ok\n";
        let results = results(output);
        assert_eq!(result(&test("a::one"), &results), "passed");
        assert_eq!(result(&test("a::two"), &results), "failed");
        assert_eq!(result(&test("a::other"), &results), "not run");
        let both = test("a::one").union(&test("a::two")).cloned().collect();
        assert_eq!(result(&both, &results), "failed");
        assert_eq!(result(&test("b::three"), &results), "passed");
    }

    #[test]
    fn the_worse_of_two_results_of_one_name_counts() {
        let output = "     Running tests/v5/main.rs (target/debug/deps/v5-0)\n\
                      test a::one ... ok\ntest a::two ... FAILED\n\
                      Running tests/v5/main.rs (target/debug/deps/v5-1)\n\
                      test a::one ... ignored\ntest a::two ... ok\n";
        let results = results(output);
        assert_eq!(result(&test("a::one"), &results), "ignored");
        assert_eq!(result(&test("a::two"), &results), "failed");
    }

    #[test]
    fn what_was_not_run_or_failed_is_not_shown() {
        let covered = |name: &str, path: &str| (name.to_owned(), test(path));
        let covered = BTreeMap::from([
            covered("MQTT-1", "a::one"),
            covered("MQTT-2", "a::two"),
            covered("MQTT-3", "a::three"),
        ]);
        let output = "     Running tests/v5/main.rs (target/debug/deps/v5-0)\n\
                      test a::one ... ok\ntest a::two ... FAILED\n";
        assert_eq!(
            not_shown(&covered, &results(output)),
            [
                "MQTT-2: a test that covers it: failed",
                "MQTT-3: a test that covers it: not run"
            ]
        );
    }

    #[test]
    fn a_changed_result_is_a_difference() {
        let document = "| a | b | c | passed |\n";
        assert_eq!(difference(document, document), None);
        let changed = difference("| a | b | c | failed |\n", document).unwrap();
        assert!(changed.starts_with("line 1 is"), "{changed}");
        assert!(difference("", document).is_some());
    }

    #[test]
    fn names_and_cells_are_found() {
        assert_eq!(function("pub async fn name(x: u8) {"), Some("name"));
        assert_eq!(function("let x = 1;"), None);
        assert_eq!(escape("a|b <c"), "a\\|b &lt;c");
        let file = root().join("crates/midge-testkit/tests/v5/connect.rs");
        assert_eq!(place(&file), Some(("v5".into(), vec!["connect".into()])));
    }
}
