#!/usr/bin/env bash
# The container image of the command, made without a container engine, and tried.
#
#   release/container.sh OUT ARCHITECTURE=PROGRAM...   an OCI layout in the folder OUT. ARCHITECTURE is amd64
#                                                      or arm64, PROGRAM a static `midge` for it
#   release/container.sh --push OUT NAME               to a registry, such as ghcr.io/OWNER/midge, as the
#                                                      version and as latest; needs skopeo and a login
#
# What is tried: the layout by umoci and skopeo where they are there, and each image for which there is a
# processor or an emulator, as an engine would start it: its files alone, its user, its command, a network
# of its own. That needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(release/version.sh)

if [ "${1:-}" = --push ]; then
    [ $# -eq 3 ] || { echo "usage: release/container.sh --push OUT NAME" >&2; exit 2; }
    for tag in "$version" latest; do
        skopeo copy --all "oci:$2:$version" "docker://$3:$tag"
    done
    skopeo inspect --format '{{.Digest}}' "docker://$3:$version"
    exit 0
fi
[ $# -ge 2 ] || { echo "usage: release/container.sh OUT ARCHITECTURE=PROGRAM..." >&2; exit 2; }
out=$1
shift

for each in "$@"; do
    program=${each#*=}
    if readelf --program-headers "$program" | grep -q 'INTERP'; then
        echo "$program is not static, and nothing else would be in its container" >&2
        exit 1
    fi
done

rm -rf "$out"
mkdir -p "$out"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
MIDGE_REVISION=$(git rev-parse HEAD)
export SOURCE_DATE_EPOCH MIDGE_REVISION
python3 release/oci.py build "$out" "$version" "$@"

# As an engine starts it, in a root of its own and a network of its own.
start() { # ARCHITECTURE [EMULATOR]
    local architecture=$1 root user command
    shift
    root=$(mktemp -d)
    chmod 755 "$root"
    mapfile -t command < <(python3 release/oci.py unpack "$out" "$architecture" "$root" | python3 -c '
import json, sys
config = json.load(sys.stdin)
print(config["User"], *config["Entrypoint"], *config["Cmd"], sep="\n")')
    user=${command[0]}
    command=("${command[@]:1}")
    [ $# -eq 0 ] || install "$1" "$root/emulator"
    unshare -n release/container-start.sh "$root" "$user" "${1:+/emulator}" "${command[@]}"
    rm -rf "$root"
    echo "$architecture: serves as user $user from $(basename "${command[0]}") alone, and ends on SIGTERM"
}

machine=$(uname -m)
for each in "$@"; do
    architecture=${each%%=*}
    case $architecture:$machine in
        amd64:x86_64 | arm64:aarch64) start "$architecture" ;;
        arm64:*)
            emulator=$(command -v qemu-aarch64-static || true)
            if [ -n "$emulator" ]; then
                start "$architecture" "$emulator"
            else
                echo "$architecture: not started, there is no qemu-aarch64-static"
            fi
            ;;
        *) echo "$architecture: not started on $machine" ;;
    esac

    # What others make of the layout: skopeo takes this image out of it, umoci unpacks it.
    if command -v skopeo >/dev/null && command -v umoci >/dev/null; then
        bundle=$(mktemp -d)
        skopeo copy --quiet --override-os linux --override-arch "$architecture" "oci:$out:$version" "oci:$bundle/one:$version"
        umoci --log=error unpack --image "$bundle/one:$version" "$bundle/unpacked"
        cmp "$bundle/unpacked/rootfs/midge" "${each#*=}"
        rm -rf "$bundle"
        echo "$architecture: skopeo and umoci read it"
    fi
done
