#!/usr/bin/env python3
"""What memory a server takes, and whom an attacker locks out. Needs nothing but Python.

    benches/memory.py streams URL PHOTO           bodies of 1 GB announced over one HTTP/2 connection, beside a good client
    benches/memory.py heads URL PHOTO             256 heads with Content-Length: 1000, kept up, beside a good client
    benches/memory.py flood URL IMAGE [CLIENTS] [SECONDS] [ACCEPT]
    benches/memory.py unread URL IMAGE [CLIENTS] [SECONDS]
    benches/memory.py soak URL PHOTO [REQUESTS] [SECONDS] [CLIENTS]

Each prints one line: what was answered, and the server's own memory (process_resident_memory_bytes) over time.
"""

import collections
import http.client
import socket
import struct
import sys
import threading
import time
import urllib.parse


def metric(url, name):
    with_body = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    with_body.request("GET", "/metrics")
    text = with_body.getresponse().read().decode()
    with_body.close()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def post(connection, body, headers):
    connection.request("POST", "/v1/detect", body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def good_client(url, photo, seconds, source="127.0.0.2"):
    """Asks ten times a second; statuses and the slowest answer."""
    statuses, slowest, end = collections.Counter(), 0.0, time.time() + seconds
    while time.time() < end:
        begun = time.time()
        try:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30, source_address=(source, 0))
            statuses[post(connection, photo, {"content-type": "image/jpeg"})] += 1
            connection.close()
        except OSError as error:
            statuses[type(error).__name__] += 1
        slowest = max(slowest, time.time() - begun)
        time.sleep(max(0.0, 0.1 - (time.time() - begun)))
    return statuses, slowest


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value):
    """A literal header without indexing, without Huffman (RFC 7541, 6.2.2)."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def streams(url, photo):
    attacker = socket.create_connection((url.hostname, url.port))
    attacker.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    lengths = [b"160000000"] * 6 + [b"19990000"] * 2
    for stream, length in zip(range(1, 17, 2), lengths):
        kind = b"multipart/form-data; boundary=x" if len(length) == 9 else b"image/jpeg"
        head = [(b":method", b"POST"), (b":path", b"/v1/detect"), (b":scheme", b"http"), (b":authority", b"x"),
                (b"content-type", kind), (b"content-length", length)]
        attacker.sendall(frame(1, 4, stream, b"".join(header(*pair) for pair in head)))
    time.sleep(0.3)
    report("streams", url, good_client(url, photo, 12, "127.0.0.1"))


def heads(url, photo):
    stop = threading.Event()

    def keep_up():
        while not stop.is_set():
            try:
                held = socket.create_connection((url.hostname, url.port))
                held.sendall(b"POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
                held.settimeout(0.2)
                while not stop.is_set():
                    try:
                        if not held.recv(4096):
                            break
                    except TimeoutError:
                        continue
                held.close()
            except OSError:
                time.sleep(0.05)

    threads = [threading.Thread(target=keep_up, daemon=True) for _ in range(256)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    report("heads", url, good_client(url, photo, 30))
    stop.set()


def report(name, url, good):
    statuses, slowest = good
    replicas = metric(url, "ounce_desired_replicas")
    print(f"{name}: good client {dict(statuses)}, slowest {slowest * 1e3:.0f} ms, ounce_desired_replicas {replicas:.2f}")


def rss(url):
    return metric(url, "process_resident_memory_bytes") / 1e6


def flood(url, image, clients=64, seconds=60, accept="application/json"):
    statuses, end, lock = collections.Counter(), time.time() + float(seconds), threading.Lock()

    def client():
        while time.time() < end:
            try:
                connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
                status = post(connection, image, {"accept": accept})
                connection.close()
            except OSError as error:
                status = type(error).__name__
            with lock:
                statuses[status] += 1
            if status != 200:
                time.sleep(0.2)

    before = rss(url)
    threads = [threading.Thread(target=client, daemon=True) for _ in range(int(clients))]
    most = before
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and time.time() < end + 60:
        try:
            most = max(most, rss(url))
        except OSError:
            statuses["no metrics"] += 1
        time.sleep(0.2)
    after = []
    for wait in (1, 4, 10, 15):
        time.sleep(wait)
        after.append(round(rss(url)))
    print(f"flood: {dict(statuses)}, RSS {before:.0f} MB, at most {most:.0f} MB, 1, 5, 15, 30 s later {after} MB")


def unread(url, image, clients=8, seconds=10):
    held = []
    before = rss(url)
    for _ in range(int(clients)):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((url.hostname, url.port))
        head = f"POST /v1/detect HTTP/1.1\r\nhost: x\r\naccept: image/png\r\ncontent-length: {len(image)}\r\n\r\n"
        client.sendall(head.encode() + image)
        held.append(client)
    most, end = before, time.time() + float(seconds)
    while time.time() < end:
        most = max(most, rss(url))
        time.sleep(0.2)
    now, begun = rss(url), collections.Counter()
    for client in held:
        client.settimeout(0.2)
        try:
            begun[client.recv(12)[-3:].decode()] += 1
        except OSError:
            begun["silent"] += 1
        client.close()
    time.sleep(5)
    print(f"unread: {dict(begun)}, RSS {before:.0f} MB, at most {most:.0f}, held {now:.0f}, 5 s after they went {rss(url):.0f} MB")


def soak(url, photo, requests=1_000_000, seconds=180, clients=4):
    done, statuses, lock, end = [0], collections.Counter(), threading.Lock(), time.time() + float(seconds)

    def client():
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        while time.time() < end:
            with lock:
                if done[0] >= int(requests):
                    return
                done[0] += 1
            status = post(connection, photo, {"content-type": "image/jpeg"})
            with lock:
                statuses[status] += 1

    threads = [threading.Thread(target=client, daemon=True) for _ in range(int(clients))]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen.append((done[0], rss(url)))
        time.sleep(1)
    seen.append((done[0], rss(url)))
    first = next((mb for n, mb in seen if n >= min(10_000, done[0] / 2)), seen[0][1])
    last = sum(mb for _, mb in seen[-5:]) / len(seen[-5:])
    most = max(mb for n, mb in seen if n >= min(10_000, done[0] / 2))
    print(f"soak: {dict(statuses)}, RSS at the 10,000th {first:.1f} MB, at the last {last:.1f} MB "
          f"({(last / first - 1) * 100:+.1f} %), at most {most:.1f} MB")


if __name__ == "__main__":
    name, where, file, *rest = sys.argv[1:]
    with open(file, "rb") as bytes_of:
        image = bytes_of.read()
    {"streams": streams, "heads": heads, "flood": flood, "unread": unread, "soak": soak}[name](
        urllib.parse.urlsplit(where), image, *rest)
