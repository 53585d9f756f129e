#!/bin/sh
# Runs once, in place of init, on the VMware-like hardware: the last steps of an installation, done by the
# guest's own tools where the disk has the names that the guest will know it by.
set -eu
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin

if [ "$0" != /run/provision ]; then
    # A script that runs from the disk would keep it from becoming read-only, and so clean, at the end.
    mount -o remount,rw /
    mv "$0" /run/provision
    exec sh /run/provision
fi

trap 'poweroff --force --force' EXIT
mkswap /dev/sda2
grub-install --target=i386-pc /dev/sda
update-grub
mount -o remount,ro /
echo '=== TRANSFERD GUEST PROVISIONED ==='
