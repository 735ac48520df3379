#!/usr/bin/env bash
# Builds the image of ../../Dockerfile without a Docker engine and without a registry of images. As root, on Debian:
#
#   apt-get install buildah debootstrap && tests/container/build.sh [NAME [--build-arg ...]]    (default: localhost/mtl)
#
# The base image is made here by debootstrap: Debian with its own Python. What this machine's pip knows of package
# indexes (its configuration, certificates, a folder of wheels) is lent to the build and does not stay in the image.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:-localhost/mtl}
base=localhost/mtl-base
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}

if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
    root=$(mktemp -d)
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >&2
    ln -s python3 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    container=$(buildah from scratch)
    buildah add -q "$container" "$root" /
    buildah commit -q --rm "$container" "$base"
fi

lent=$(mktemp -d)
trap 'rm -rf "$lent" "${root:-$lent}"' EXIT
known() { pip config get "global.$1" 2>/dev/null || true; }
indexes=$(known extra-index-url)
wheels=${PIP_FIND_LINKS:-$(known find-links)}
printf '[global]\nfind-links = %s\ncert = %s\n' "$wheels" "$(known cert)" >"$lent/pip.conf"
volumes=(--volume "$lent/pip.conf:/etc/pip.conf:ro")
for place in /etc/ssl/certs $wheels $(grep -o 'file://[^ ]*' <<<"$indexes" | sed 's|^file://||; s|/simple.*||'); do
    if [[ -e $place ]]; then volumes+=(--volume "$place:$place:ro"); fi
done
shift || true
buildah bud --network host --format docker --tag "$name" "${volumes[@]}" --build-arg "BASE=$base" \
    ${indexes:+--build-arg "PIP_EXTRA_INDEX_URL=$indexes"} "$@" .
