#!/usr/bin/env bash
# Runs an image that build.sh made, as closed as it can be, and a command beside it. As root, on Linux:
#
#   tests/container/run.sh localhost/mtl .venv/bin/python -m pytest tests/e2e
#
# The root file system is read-only but for /tmp; the user is the image's; there is no network but a loopback that
# container and command share. The command finds the app at MTL_APP_URL and its log at MTL_APP_LOG. Afterwards the
# container is asked to end by SIGTERM and must do so, with status 0, within five seconds.
set -euo pipefail
image=$1
shift
export STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
space=mtl-$$
root=$(mktemp -d)
log=$(mktemp)
container=$(buildah from --pull-never "$image")
layers=$(buildah mount "$container")

cleanup() {
    kill -9 "${pid:-}" 2>/dev/null || true
    wait 2>/dev/null || true
    for place in tmp dev/shm dev/null dev/zero dev/urandom dev proc ""; do umount -l "$root/$place" 2>/dev/null || true; done
    ip netns delete "$space" 2>/dev/null || true
    buildah rm "$container" >/dev/null
    rm -rf "$root"
}
trap cleanup EXIT

echo "127.0.0.1 localhost" >"$layers/etc/hosts"  # an engine writes it too
ip netns add "$space"
ip -n "$space" link set lo up
mount --bind "$layers" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero urandom; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
mkdir "$root/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777,size=2g tmpfs "$root/tmp"

config() { buildah inspect --format "{{$1}}" "$container"; }
mapfile -t env < <(config 'range .OCIv1.Config.Env}}{{println .}}{{end' | grep .)
mapfile -t command < <(config 'range .OCIv1.Config.Cmd}}{{println .}}{{end' | grep .)
user=$(config .OCIv1.Config.User)
home=$(config .OCIv1.Config.WorkingDir)

begun=$(date +%s%3N)
ip netns exec "$space" chroot --userspec="$user:$user" --groups="" "$root" \
    env -i "${env[@]}" ${MTL_RUN_WITH:-} sh -c "cd $home && exec \"\$@\"" sh "${command[@]}" >"$log" 2>&1 &
pid=$!
export MTL_APP_URL=http://127.0.0.1:7860 MTL_APP_LOG=$log
for _ in $(seq 600); do
    if ip netns exec "$space" curl -sf "$MTL_APP_URL/api/readyz" >/dev/null; then ready=$(date +%s%3N) && break; fi
    if ! kill -0 "$pid" 2>/dev/null; then echo "the container ended:" >&2; cat "$log" >&2; exit 1; fi
    sleep 0.1
done
[[ -n ${ready:-} ]] || { echo "not ready within a minute:" >&2; cat "$log" >&2; exit 1; }
echo "ready after $((ready - begun)) ms"

status=0
ip netns exec "$space" "$@" || status=$?
echo "memory: $(awk '/VmRSS/ {print int($2 / 1024)}' "/proc/$pid/status") MB"

begun=$(date +%s%3N)
kill -TERM "$pid"
ended=0
wait "$pid" || ended=$?
took=$(($(date +%s%3N) - begun))
echo "ended with status $ended, $took ms after SIGTERM"
if ((status)); then tail -30 "$log" >&2; fi
((status == 0 && ended == 0 && took < 5000))
