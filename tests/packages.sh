#!/usr/bin/env bash
# The crates that are published, as their users get them.
#
#   tests/packages.sh            all of it, as the gate does
#   tests/packages.sh NAME...    some of it:
#     contents    licences, a readme, what the registry asks for, the names of archives for cargo-binstall
#     publish     `cargo publish --dry-run` of all, in their order; each is built from its own package
#     install     `cargo install` of the command, which then says its version and serves a client
#   tests/packages.sh --list     the names that there are
#
# Nothing is sent anywhere. CARGO_TARGET_DIR is target/ where it is not set.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
all=(contents publish install)
list() { printf '%s\n' "${all[@]}"; }
# shellcheck source=tests/arguments.sh
. tests/arguments.sh
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")
for name in "${names[@]}"; do
    [[ " ${all[*]} " = *" $name "* ]] || { echo "packages.sh: nothing is called $name. There is: ${all[*]}" >&2; exit 2; }
done
metadata=$(cargo metadata --format-version 1 --no-deps --locked)
mapfile -t published < <(python3 -c '
import json, sys
for package in json.load(sys.stdin)["packages"]:
    if package["publish"] is None:
        print(package["name"])' <<<"$metadata")

# What stands alone has its licences and its readme, and says of itself what the registry and docs.rs show.
contents() {
    local package file listed status=0
    for package in "${published[@]}"; do
        listed=$(cargo package --list --quiet --allow-dirty --package "$package")
        for file in LICENSE-APACHE LICENSE-MIT README.md; do
            grep -qx "$file" <<<"$listed" || { echo "$package: no $file"; status=1; }
        done
    done
    METADATA=$metadata python3 - <<'END' || status=1
import json
import os
import pathlib
import sys

wrong = []
packages = {p["name"]: p for p in json.loads(os.environ["METADATA"])["packages"] if p["publish"] is None}
for name, package in packages.items():
    for field in ("description", "license", "readme", "rust_version", "documentation", "keywords", "categories"):
        if not package[field]:
            wrong.append(f"{name}: Cargo.toml has no {field}")
    if not (package["metadata"] or {}).get("docs", {}).get("rs"):
        wrong.append(f"{name}: Cargo.toml has no package.metadata.docs.rs")
    for dependency in package["dependencies"]:
        # A path is left out of what is published, so a version has to say what it is.
        if dependency.get("path") and dependency["kind"] != "dev" and dependency["req"] == "*":
            wrong.append(f"{name}: {dependency['name']} has a path and no version")

# What cargo-binstall looks for is what a release has, by the scripts that make it.
binstall = packages["midge-cli"]["metadata"]["binstall"]
archive = "midge-{ version }-{ target }"
if not binstall["pkg-url"].endswith(f"/v{{ version }}/{archive}{{ archive-suffix }}"):
    wrong.append(f"midge-cli: binstall does not look for {archive}")


def looks_for(wanted, form, folder):
    if (wanted["pkg-fmt"], wanted["bin-dir"]) != (form, f"{archive}{folder}/{{ bin }}{{ binary-ext }}"):
        wrong.append(f"midge-cli: binstall does not look into {archive}{folder} of a {form}")


def makes(script, *parts):
    path = pathlib.Path("release", script)
    text = path.read_text() if path.exists() else ""
    wrong.extend(f"release/{script} does not have {part}, where binstall looks" for part in parts if text and part not in text)


looks_for(binstall, "txz", "/bin")
makes("build.sh", "name=midge-$version-$target", '"$name.tar.xz"', '"$prefix/bin/midge"')
for target, wanted in binstall["overrides"].items():
    looks_for(wanted, "zip", "")
makes("windows.sh", 'archive.py "$out/midge-$(release/version.sh)-$target"', "/midge.exe")

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
END
    return "$status"
}

publish() {
    # Those of the workspace that are no dependencies yet are taken from their packages. All that are not
    # published say so themselves.
    CARGO_PROFILE_DEV_DEBUG=0 timeout 900 cargo publish --workspace --dry-run --locked --allow-dirty --quiet
}

install() {
    local home=$CARGO_TARGET_DIR/installed
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --path crates/midge-cli --locked --debug --quiet --root "$home" --no-track --force
    [ "$("$home/bin/midge" --version)" = "midge $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)" ]

    # shellcheck disable=SC2016 # variables of the command that it runs
    [ "$(MIDGE=$home/bin/midge "$home/bin/midge" exec -- sh -c '"$MIDGE" pub -t kept -m hello -r && "$MIDGE" sub -t kept -C 1')" = hello ]
}

for name in "${names[@]}"; do
    echo "$name: ${published[*]}"
    "$name"
done
