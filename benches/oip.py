"""What an answer costs over gRPC beside HTTP, in one run: answers a second, and the server's CPU for each.

After `make build` and `make .python/installed`: PYTHONPATH=.python python3 benches/oip.py photo.jpg [rounds]. The clients are Triton's, on the
same machine, so that answers a second are theirs as much as the server's; the CPU is the server's alone. The ways take turns.
"""

import os
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import tritonclient.grpc
import tritonclient.http

PORT, MODEL, SECONDS, CLIENTS = 18490, "pedestrian-presence", 3, 4
address = f"127.0.0.1:{PORT}"
photo, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
with open(photo, "rb") as file:
    encoded = file.read()
binary = os.environ.get("OUNCE", "target/release/ounce")
server = subprocess.Popen([binary, "serve", "--listen", address], env={**os.environ, "OUNCE_ADMIN_LISTEN": ""})


def cpu_seconds():
    """CPU seconds that the server has used."""
    with open(f"/proc/{server.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def client(kind):
    """A client and its input: an encoded picture or a tensor."""
    library = tritonclient.http if kind.startswith("http") else tritonclient.grpc
    if kind.endswith("picture"):
        value = library.InferInput("image", [1], "BYTES")
        value.set_data_from_numpy(np.array([encoded], dtype=object))
    else:
        value = library.InferInput("image", [1, 3, 150, 150], "FP32")
        value.set_data_from_numpy(np.zeros((1, 3, 150, 150), np.float32))
    return library.InferenceServerClient(address), value


def measure(kind):
    """Answers a second, and the server's CPU milliseconds for each."""
    counts, stop = [0] * CLIENTS, threading.Event()

    def ask(i):
        asking, value = client(kind)
        while not stop.is_set():
            asking.infer(MODEL, [value])
            counts[i] += 1

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(CLIENTS)]
    before, began = cpu_seconds(), time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    answers = sum(counts)
    return answers / (time.monotonic() - began), 1000 * (cpu_seconds() - before) / answers


try:
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/readyz")
            break
        except OSError:
            time.sleep(0.1)
    kinds = ["http picture", "grpc picture", "http tensor", "grpc tensor"]
    for kind in kinds:
        measure(kind)
    got = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for kind in kinds if turn % 2 else reversed(kinds):
            got[kind].append(measure(kind))
    for kind in kinds:
        per_second, cpu_ms = (statistics.median(values) for values in zip(*got[kind]))
        print(f"{kind}: {per_second:.0f} answers/s, {cpu_ms:.2f} ms of the server's CPU each (medians of {rounds} rounds)")
finally:
    server.terminate()
    server.wait()
