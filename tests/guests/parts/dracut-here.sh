#!/bin/sh
# Runs dracut in this root folder as on a machine whose hardware is unknown: without these mounts it would
# give up its host-only mode, and with the builder's own it would find the builder's hardware.
set -eu

mount -t tmpfs none /sys
mount -t tmpfs none /run
mount --bind /dev /dev
exec dracut "$@"
