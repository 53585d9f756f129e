#!/bin/sh
# Build nbdkit's vddk plugin, the one real piece between transferd and VMware's library.
#
# Debian's nbdkit leaves this plugin out because VMware's library is not free, but the plugin itself is: it
# finds the library at run time and builds without it. Debian 13's source (1.42.3) is taken on any Debian
# because older plugins mishandle the end of disks whose size is no multiple of 64 KiB (upstream RHEL-71694),
# and because its .so still loads into Debian 12's nbdkit 1.32.5.
#
# Only what the plugin links is built: about 15 s on two cores. The source comes through apt, which checks it
# against Debian's signature, with a private configuration: /etc/apt and its lists stay as they are. Upstream's
# tarball is unpacked bare; Debian's patches do not touch the plugin and would make autoconf a requirement.
#
# Usage: build-vddk-plugin.sh OUTPUT     does nothing, silently, when OUTPUT exists
# Needs: apt, debian-archive-keyring, gcc, libc6-dev, make, pkg-config, tar, gzip. No root.
set -eu

VERSION=1.42.3
SUITE=trixie
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

[ $# -eq 1 ] || { echo "usage: $0 OUTPUT" >&2; exit 2; }
output=$1
[ ! -s "$output" ] || exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

run() {  # run STEP COMMAND...: quiet unless it fails, then the end of what it said
    step=$1
    shift
    "$@" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        echo "$0: $step failed; is the package list in this script's header installed?" >&2
        exit 1
    }
}

private_apt() {
    # As root, apt would fetch as user _apt, who cannot enter $work.
    apt-get -o Dir::Etc::sourcelist="$work/trixie.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root "$@"
}

fetch() {
    # The machine's own mirror.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
        'Label: Debian' 2>/dev/null | head -n 1)
    [ -n "$mirror" ] || {
        echo "$0: apt knows no Debian mirror; run apt-get update first" >&2
        exit 1
    }
    cat >"$work/trixie.sources" <<EOF
Types: deb-src
URIs: $mirror
Suites: $SUITE
Components: main
Signed-By: $KEYRING
EOF
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    run "reading Debian $SUITE's source list" private_apt update
    cd "$work"
    run "downloading nbdkit's source" private_apt source --download-only nbdkit
    [ -f "nbdkit_$VERSION.orig.tar.gz" ] || {
        echo "$0: Debian $SUITE no longer has nbdkit $VERSION; update VERSION here" >&2
        exit 1
    }
}

build() {
    mkdir "$work/nbdkit"
    run "unpacking nbdkit" tar -xf "nbdkit_$VERSION.orig.tar.gz" -C "$work/nbdkit" --strip-components=1
    cd "$work/nbdkit"
    run "configuring nbdkit" ./configure --disable-static --enable-vddk \
        --disable-golang --disable-libguestfs-tests --disable-linuxdisk --disable-lua --disable-ocaml \
        --disable-perl --disable-python --disable-rust --disable-tcl --disable-torrent --disable-valgrind \
        --without-bash-completions --without-bzip2 --without-curl --without-ext2 --without-gnutls \
        --without-iso --without-libblkio --without-libguestfs --without-liblzma --without-libnbd \
        --without-libvirt --without-libzstd --without-manpages --without-selinux --without-ssh --without-zlib
    run "building nbdkit's helpers" make -C common/utils
    run "building nbdkit's helpers" make -C common/replacements
    run "building the vddk plugin" make -C plugins/vddk nbdkit-vddk-plugin.la
}

# An absolute path, before fetch and build change folder.
mkdir -p "$(dirname "$output")"
output=$(cd "$(dirname "$output")" && pwd)/$(basename "$output")
fetch
build
# Renamed into place: a reader sees the whole plugin or none.
cp plugins/vddk/.libs/nbdkit-vddk-plugin.so "$output.$$"
strip --strip-unneeded "$output.$$"
mv "$output.$$" "$output"
echo "built $output"
