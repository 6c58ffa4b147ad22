#!/usr/bin/env bash
# Does batching cost anything where it gains nothing? Two servers with the shipped detector, one as it is, one with
# max_batch = 1, take turns; the medians of all rounds are compared. Needs wrk, curl and `make build`.
#   PHOTO=photo.jpg ROUNDS=9 benches/batching_off.sh
set -euo pipefail
cd "$(dirname "$0")/.."
photo=${PHOTO:?a JPEG to post} rounds=${ROUNDS:-9}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
declare -A port=([on]=8181 [off]=8182)
for kind in on off; do
    mkdir -p "$work/$kind"
    cp -r models/pedestrian "$work/$kind/"
    if [ $kind = off ]; then printf '\n[batching]\nmax_batch = 1\n' >>"$work/off/pedestrian/model.toml"; fi
    OUNCE_MODELS=$work/$kind OUNCE_LISTEN=127.0.0.1:${port[$kind]} OUNCE_LOG__FILTER=warn target/release/ounce serve &
    until curl -sf "http://127.0.0.1:${port[$kind]}/readyz" >/dev/null; do sleep 0.1; done
done
measure() { # kind connections: answers a second, and the median latency in ms
    PHOTO=$photo wrk -t1 -c"$2" -d3s --latency -s benches/post.lua "http://127.0.0.1:${port[$1]}/v1/detect" |
        awk '/Non-2xx/ { print "not all were answered: " $0 > "/dev/stderr"; exit 1 } $1 == "50%" { ms = $2 ~ /us$/ ? $2 / 1000 : $2 + 0 } /Requests\/sec/ { print $2, ms }'
}
for ((round = 0; round < rounds; round++)); do
    # Who begins changes, so that a machine that becomes slower is nobody's disadvantage.
    if ((round % 2)); then order="on off"; else order="off on"; fi
    for connections in 1 32; do
        for kind in $order; do measure $kind $connections >>"$work/$kind-$connections"; done
    done
done
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
for connections in 1 32; do
    for kind in on off; do
        rate=$(cut -d' ' -f1 "$work/$kind-$connections" | median) p50=$(cut -d' ' -f2 "$work/$kind-$connections" | median)
        echo "$connections connections, batching $kind: $rate answers/s, p50 $p50 ms (medians of $rounds rounds)"
    done
    paste -d' ' "$work/on-$connections" "$work/off-$connections" | awk '{ print $1 / $3 }' | median |
        sed "s/^/$connections connections, answers on ÷ off, median of the rounds: /"
    paste -d' ' "$work/on-$connections" "$work/off-$connections" | awk '{ print $2 - $4 }' | median |
        sed "s/^/$connections connections, p50 on − off in ms, median of the rounds: /"
done
