#!/bin/sh
# Waits until every address is there that this guest should have; after 30 s whatever is there is the truth.
set -u

complete() {
    while read -r address; do
        ip -oneline address | grep -qF " $address " || return 1
    done </usr/local/etc/addresses
}

for _ in $(seq 30); do
    complete && exit 0
    sleep 1
done
