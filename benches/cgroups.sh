#!/usr/bin/env bash
# Answers a second and CPU in control groups of 0.5, 1 and 2 CPUs, each a few times in turn: benches/cgroups.sh PHOTO...
# As root, after `cargo build --release`; ounce bench runs outside of the groups, on the same machine.
set -euo pipefail
cd "$(dirname "$0")/.."
photos=(); for photo in "$@"; do photos+=(--picture "$photo"); done
turns=${TURNS:-3} duration=${DURATION:-6s} connections=${CONNECTIONS:-8} port=18480
version_1=/sys/fs/cgroup/cpu version_2=/sys/fs/cgroup
server=
end() { if [ -n "$server" ]; then kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; server=; fi; }
trap 'end; rmdir "$group" 2>/dev/null || true' EXIT
echo "CPUs  sessions  decoding  answers/s  answers/s a CPU"
for turn in $(seq "$turns"); do
    for cpus in 0.5 1 2; do
        quota=$(awk "BEGIN { print int($cpus * 100000) }")
        if [ -d $version_1 ]; then
            group=$version_1/ounce-bench; mkdir -p $group
            echo 100000 > $group/cpu.cfs_period_us; echo "$quota" > $group/cpu.cfs_quota_us
        else
            group=$version_2/ounce-bench; mkdir -p $group; echo "$quota 100000" > $group/cpu.max
        fi
        bash -c "echo \$\$ > $group/cgroup.procs; exec ./target/release/ounce serve --log error --listen 127.0.0.1:$port" &
        server=$!
        until ./target/release/ounce health --url http://127.0.0.1:$port >/dev/null 2>&1; do sleep 0.1; done
        metrics=$(curl -s http://127.0.0.1:$port/metrics)
        sessions=$(grep '^ounce_instances{model="pedestrian",variant="int8"}' <<< "$metrics" | cut -d' ' -f2)
        decoding=$(grep '^ounce_cpus{use="decode_threads"}' <<< "$metrics" | cut -d' ' -f2)
        per_s=$(./target/release/ounce bench http://127.0.0.1:$port "${photos[@]}" --connections "$connections" --duration "$duration" --json |
            python3 -c 'import json, sys; print(json.load(sys.stdin)["steps"][0]["answers_per_s"])')
        end
        rmdir $group
        awk "BEGIN { printf \"%4s  %8s  %8s  %9.1f  %15.1f\n\", \"$cpus\", \"$sessions\", \"$decoding\", $per_s, $per_s / $cpus }"
    done
done
