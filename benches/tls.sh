#!/bin/sh
# What TLS costs: CPU time of the server for each answer, in the clear and over TLS, over connections that are kept and over one that is made
# anew for each request. Both in one run, in turns, so that what else the machine does meets both.
#
#   cargo build --release && benches/tls.sh [REQUESTS]        needs h2load (nghttp2-client) and openssl
set -eu
requests=${1:-2000}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'kill $plain $tls 2>/dev/null; rm -rf "$work"' EXIT
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key" -out "$work/crt" 2>/dev/null
python3 - "$work/photo.png" <<'PYTHON'
import random, struct, sys, zlib
random.seed(1)
side = 160
rows = b"".join(b"\0" + random.randbytes(side * 3) for _ in range(side))
chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
open(sys.argv[1], "wb").write(png + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))
PYTHON
ounce=${OUNCE:-target/release/ounce}
export OUNCE_ADMIN_LISTEN= OUNCE_LOG__FILTER=error OUNCE_CONNECTIONS__MAX_AGE_S=0
"$ounce" serve --listen 127.0.0.1:18080 & plain=$!
OUNCE_TLS__CERT_FILE=$work/crt OUNCE_TLS__KEY_FILE=$work/key "$ounce" serve --listen 127.0.0.1:18443 & tls=$!
until curl -fs http://127.0.0.1:18080/readyz && curl -fsk https://127.0.0.1:18443/readyz; do sleep 0.2; done >/dev/null 2>&1

# CPU seconds of a process, in user and in system mode.
cpu() { awk -v tick="$(getconf CLK_TCK)" '{print ($14 + $15) / tick}' "/proc/$1/stat"; }
measure() { # what, process, the rest is h2load's
    what=$1 process=$2; shift 2
    before=$(cpu "$process")
    done=$(h2load -n "$requests" "$@" | sed -n 's/.* \([0-9]*\) succeeded.*/\1/p')
    cpu "$process" | awk -v before="$before" -v done="$done" -v what="$what" -v all="$requests" \
        '{printf "%-44s %9.1f us of CPU an answer (%d of %d)\n", what, ($1 - before) / done * 1e6, done, all}'
}
for turn in 1 2 3; do
    echo "turn $turn"
    measure "livez, HTTP/1.1, kept, plain" $plain --h1 -c 8 http://127.0.0.1:18080/livez
    measure "livez, HTTP/1.1, kept, TLS" $tls --h1 -c 8 https://127.0.0.1:18443/livez
    measure "livez, HTTP/2, kept, plain" $plain -c 8 http://127.0.0.1:18080/livez
    measure "livez, HTTP/2, kept, TLS" $tls -c 8 https://127.0.0.1:18443/livez
    measure "livez, HTTP/1.1, a connection each, plain" $plain --h1 -c "$requests" http://127.0.0.1:18080/livez
    measure "livez, HTTP/1.1, a connection each, TLS" $tls --h1 -c "$requests" https://127.0.0.1:18443/livez
    measure "classify 77 kB, HTTP/1.1, kept, plain" $plain --h1 -c 4 -d "$work/photo.png" http://127.0.0.1:18080/v1/classify
    measure "classify 77 kB, HTTP/1.1, kept, TLS" $tls --h1 -c 4 -d "$work/photo.png" https://127.0.0.1:18443/v1/classify
done
