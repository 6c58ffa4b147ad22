"""How load spreads over replicas that are joined by others, where a balancer spreads connections and not requests.

    benches/spread.py PHOTO [BINARY] [PER_SECOND]

Clients that keep their connections ask two replicas of 0.2 CPUs each. After 20 s there are five. A new connection goes to any of
the replicas, as a Kubernetes Service does it; nobody else moves a client. Prints what each replica answered a second, and what
was answered within a second of what was asked for, before and after all connections have reached their greatest age. Wants
root, for the control groups. CLIENTS, SETTLE and LAST change the number of clients and the times in seconds.
"""
import asyncio, collections, os, random, sys, time

from fairness import control_group, start

CLIENTS = int(os.environ.get("CLIENTS", 100))
SETTLE, LAST = float(os.environ.get("SETTLE", 80)), float(os.environ.get("LAST", 60))


async def client(ports, body, per_second, end, note):
    streams, port, due = None, None, time.monotonic() + random.random() / per_second
    head = f"POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    while due < end:
        await asyncio.sleep(max(0, due - time.monotonic()))
        status = 0
        try:
            if streams is None:
                port = random.choice(ports)
                streams = await asyncio.open_connection("127.0.0.1", port)
            reader, writer = streams
            writer.write(head + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(next(int(line.split(":")[1]) for line in answer.split("\r\n") if line.startswith("content-length")))
            status = int(answer.split()[1])
            if "connection: close" in answer: writer.close(); streams = None
        except (OSError, asyncio.IncompleteReadError): streams = None
        note(due, port, status, time.monotonic() - due)
        due += random.expovariate(per_second)


async def drive(replicas, body, per_second):
    began, seen = time.monotonic(), []
    ports, end = [port for _, port in replicas[:2]], began + 20 + SETTLE + LAST
    note = lambda due, port, status, took: seen.append((due - began, port, status, took))
    tasks = [asyncio.create_task(client(ports, body, per_second / CLIENTS, end, note)) for _ in range(CLIENTS)]
    await asyncio.sleep(20)
    ports.extend(port for _, port in replicas[2:])
    await asyncio.gather(*tasks)
    return seen


def report(name, seen, since, until):
    part = [one for one in seen if since <= one[0] < until]
    seconds, by = until - since, collections.Counter(port for _, port, status, _ in part if status == 200)
    good = sum(status == 200 and took <= 1 for _, _, status, took in part)
    took = sorted(took for _, _, status, took in part if status == 200)
    others = dict(collections.Counter(status for _, _, status, _ in part if status != 200))
    mean = sum(by.values()) / max(1, len(by))
    print(f"{name:26} asked {len(part) / seconds:5.1f}/s, within a second {good / max(1, len(part)):6.1%} {others or ''} p50 {took[len(took) // 2] * 1e3:.0f} p99 "
          f"{took[int(len(took) * .99)] * 1e3:.0f} ms; a replica {' '.join(f'{by[port] / seconds:.1f}' for port in sorted(by))}/s = "
          f"{' '.join(f'{by[port] / mean:.2f}' for port in sorted(by))} of the mean", flush=True)


def main(photo, binary="./target/release/ounce", per_second="48"):
    random.seed(int(os.environ.get("SEED", 1)))
    groups = [control_group(f"ounce-spread-{number}", 0.2) for number in range(5)]
    ports = [18700 + number for number in range(5)]
    replicas = [(start(binary, {"OUNCE_ADMIN_LISTEN": ""}, group, port), port) for group, port in zip(groups, ports)]
    if os.geteuid() == 0: os.setpriority(os.PRIO_PROCESS, 0, -10)
    try:
        seen = asyncio.run(drive(replicas, open(photo, "rb").read(), float(per_second)))
        report("two replicas", seen, 5, 20)
        report("five, connections kept", seen, 20, 30)
        report("five, after their age", seen, 20 + SETTLE, 20 + SETTLE + LAST)
    finally:
        for process, _ in replicas: process.terminate()
        for group, (process, _) in zip(groups, replicas): process.wait(); os.rmdir(group)


if __name__ == "__main__":
    if len(sys.argv) < 2: sys.exit(__doc__)
    main(*sys.argv[1:])
