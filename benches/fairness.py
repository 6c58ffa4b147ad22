"""What a tenant's requests wait while another tenant floods, and what is answered in time past the capacity.

    benches/fairness.py tenants PHOTO LARGE BINARY...    A floods in several ways, B sends 5 requests a second
    benches/fairness.py promise PHOTO BINARY...          slo_p99_ms = 500, no deadline named, loads of 0.5 to 2 × capacity

The second wants root: it puts the server into control groups of 0.2, 0.5 and 2 CPUs. Where several binaries are given, each
situation is measured with one after the other. PLOT=file.svg plots B's waits over time. One situation of the first wants `h2load`.

The clients share the machine with the server. So that B's waits are those of the server, the first gives the server all CPUs but the last,
and the clients that one; A floods from another process than B's, and as root B's client has precedence.
"""
import asyncio, collections, math, multiprocessing, os, random, shutil, subprocess, sys, time, urllib.request

PORT = int(os.environ.get("PORT", 18680))
SECONDS = float(os.environ.get("SECONDS", 8))
PATH = os.environ.get("TARGET", "/v1/detect")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def control_group(name, cpus):
    """A control group with so many CPUs, of either version. Whoever makes it removes it by os.rmdir."""
    old = "/sys/fs/cgroup/cpu"
    group = f"{old if os.path.isdir(old) else '/sys/fs/cgroup'}/{name}"
    os.makedirs(group, exist_ok=True)
    if os.path.isdir(old):
        open(f"{group}/cpu.cfs_period_us", "w").write("100000"); open(f"{group}/cpu.cfs_quota_us", "w").write(str(int(cpus * 1e5)))
    else: open(f"{group}/cpu.max", "w").write(f"{int(cpus * 1e5)} 100000")
    return group


def start(binary, settings, group=None, port=PORT):
    env = {**os.environ, "OUNCE_RELOAD__WATCH_MS": "0", **settings}
    command = [binary, "serve", "--listen", f"127.0.0.1:{port}", "--log", "error"]
    if os.geteuid() == 0: command = ["nice", "-n", str(-os.getpriority(os.PRIO_PROCESS, 0)), *command]
    if group: command = ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, env=env)
    for _ in range(600):
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).status == 200: return process
        except OSError: time.sleep(0.1)
        if process.poll() is not None: sys.exit(f"{binary} ended")
    sys.exit("not ready")


class Client:
    """One connection that is kept."""

    def __init__(self): self.streams = None

    async def post(self, body, query="", key=""):
        began = time.monotonic()
        try:
            if self.streams is None: self.streams = await asyncio.open_connection("127.0.0.1", PORT)
            reader, writer = self.streams
            auth = f"x-api-key: {key}\r\n" if key else ""
            writer.write(f"POST {PATH}{query} HTTP/1.1\r\nhost: x\r\n{auth}content-length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
            await reader.readexactly(length)
            if "connection: close" in head: self.close()
            return int(head.split()[1]), time.monotonic() - began
        except (OSError, asyncio.IncompleteReadError, StopIteration):
            self.close()
            return 0, time.monotonic() - began

    def close(self):
        if self.streams: self.streams[1].close()
        self.streams = None


async def loops(seconds, connections, body, query):
    end = time.monotonic() + seconds
    async def loop():
        client = Client()
        while time.monotonic() < end:
            status, _ = await client.post(body, query, "key-a")
            if status != 200: await asyncio.sleep(0.05)
        client.close()
    await asyncio.gather(*(loop() for _ in range(connections)))


async def drip(seconds, connections, body):
    """Bodies that come at 16 kB a second, and are not sent to their end."""
    end = time.monotonic() + seconds
    async def loop():
        while time.monotonic() < end:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
                writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-api-key: key-a\r\ncontent-length: 10000000\r\n\r\n".encode())
                while time.monotonic() < end and not reader.at_eof():
                    writer.write(body[:1600])
                    await writer.drain()
                    await asyncio.sleep(0.1)
                writer.close()
            except OSError: await asyncio.sleep(0.05)
    await asyncio.gather(*(loop() for _ in range(connections)))


def flood(how, seconds, connections, file, query):
    if os.geteuid() == 0: os.setpriority(os.PRIO_PROCESS, 0, 5)
    if how == "streams":
        subprocess.run(["h2load", "--connect-to", f"127.0.0.1:{PORT}", "-D", str(int(seconds)), "-c", "4", "-m", str(connections // 4), "-d", file,
                        "-H", "x-api-key: key-a", "-H", "content-type: image/jpeg", f"http://127.0.0.1:{PORT}{PATH}"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    else:
        body = open(file, "rb").read()
        asyncio.run(loops(seconds, connections, body, query) if how == "loops" else drip(seconds, connections, body))


async def steady(seconds, body, query, per_s=5):
    """Requests at fixed times, whether answers come or not."""
    began, tasks, idle = time.monotonic(), [], []
    async def one(due):
        client = idle.pop() if idle else Client()
        status, took = await client.post(body, query, "key-b")
        idle.append(client)
        return due, status, took
    for n in range(int(seconds * per_s)):
        due = n / per_s
        await asyncio.sleep(max(0, began + due - time.monotonic()))
        tasks.append(asyncio.create_task(one(due)))
    return await asyncio.gather(*tasks)


def beside(body, how=None, connections=0, file="", query="", mine=""):
    flooding = how and multiprocessing.Process(target=flood, args=(how, SECONDS + 3, connections, file, query))
    if flooding: flooding.start()
    time.sleep(1.5)
    got = asyncio.run(steady(SECONDS, body, mine))
    if flooding: flooding.join()
    return got


def tenants(photo, large, binaries):
    settings = {"OUNCE_TENANTS__A__API_KEYS": "key-a", "OUNCE_TENANTS__B__API_KEYS": "key-b",
                "OUNCE_REQUESTS__MAX_IN_FLIGHT": os.environ.get("MAX_IN_FLIGHT", "256")}
    body = open(photo, "rb").read()
    loops = dict(how="loops", connections=64, file=photo)
    cases = [("alone", {}), ("64 loops", loops), ("64 loops, priority 9", {**loops, "query": "?priority=9"}),
             ("64 loops, B in 100 ms", {**loops, "mine": "?deadline_ms=100"}), ("16 x 49 megapixels", {**loops, "connections": 16, "file": large}),
             ("300 connections", {**loops, "connections": 300}), ("300 slow bodies", dict(how="drip", connections=300, file=photo))]
    if shutil.which("h2load"): cases.append(("64 HTTP/2 streams", dict(how="streams", connections=64, file=photo)))
    else: print("h2load is not installed: no HTTP/2 streams")
    cases.append(("alone again", {}))
    if "CASES" in os.environ: cases = [case for case in cases if any(word in case[0] for word in os.environ["CASES"].split(","))]
    if os.geteuid() == 0: os.setpriority(os.PRIO_PROCESS, 0, -10)
    series, cpus = [], sorted(os.sched_getaffinity(0))
    for binary in binaries:
        os.sched_setaffinity(0, cpus[:-1] or cpus)
        process = start(binary, settings)
        os.sched_setaffinity(0, cpus[-1:])
        try:
            beside(body)
            alone = None
            for name, case in cases:
                got = beside(body, **case)
                good = [took * 1e3 for _, status, took in got if status == 200]
                others = sorted({status for _, status, _ in got if status != 200})
                alone = alone or quantile(good, 0.99)
                print(f"{os.path.basename(binary):14} {name:24} answered {len(good):3} of {len(got)} {others or ''} p50 {quantile(good, 0.5):7.1f} "
                      f"p99 {quantile(good, 0.99):7.1f} ms = {quantile(good, 0.99) / alone:5.1f} x alone", flush=True)
                series.append((binary, name, got))
        finally:
            process.terminate(); process.wait()
    if "PLOT" in os.environ: plot(series, os.environ["PLOT"])


def plot(series, file):
    names = list(dict.fromkeys(name for _, name, _ in series))
    binaries = list(dict.fromkeys(binary for binary, _, _ in series))
    width, height, top = 150, 220, 4
    y = lambda ms: height - 30 - (height - 50) * max(0.0, min(1.0, math.log10(max(ms, 1)) / top))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="9" width="{width * len(names) + 60}" height="{height}">',
           '<rect width="100%" height="100%" fill="white"/>']
    for ms in (1, 10, 100, 1000, 10000): out.append(f'<text x="2" y="{y(ms):.0f}">{ms} ms</text>')
    for binary, name, got in series:
        left, colour = 55 + width * names.index(name), ["#b33", "#27b", "#2a7"][binaries.index(binary) % 3]
        out.append(f'<text x="{left}" y="{height - 8}">{name}</text>')
        for due, status, took in got:
            x, at = left + (width - 15) * due / SECONDS, y(took * 1e3)
            mark = f'<circle cx="{x:.1f}" cy="{at:.1f}" r="2" fill="{colour}"/>' if status == 200 else f'<text x="{x:.1f}" y="{at:.1f}" fill="{colour}">×</text>'
            out.append(mark)
    for n, binary in enumerate(binaries): out.append(f'<text x="{60 + 120 * n}" y="12" fill="{["#b33", "#27b", "#2a7"][n % 3]}">{os.path.basename(binary)}</text>')
    open(file, "w").write("\n".join(out + ["</svg>"]))


async def closed(seconds, body, connections):
    end, done = time.monotonic() + seconds, 0
    async def loop():
        nonlocal done
        client = Client()
        while time.monotonic() < end:
            status, _ = await client.post(body, "?deadline_ms=60000")
            done += status == 200
        client.close()
    await asyncio.gather(*(loop() for _ in range(connections)))
    return done / seconds


async def offered(seconds, body, per_s):
    began, due, tasks, idle = time.monotonic(), 0.0, [], []
    async def one(late_by):
        client = idle.pop() if idle else Client()
        status, took = await client.post(body)
        idle.append(client)
        return status, took + late_by
    while due < seconds:
        await asyncio.sleep(max(0, began + due - time.monotonic()))
        tasks.append(asyncio.create_task(one(0.0)))
        due += random.expovariate(per_s)
    return await asyncio.gather(*tasks)


def promise(photo, binaries):
    body = open(photo, "rb").read()
    settings = {"OUNCE_MODEL__PEDESTRIAN__SLO_P99_MS": "500"}
    if os.geteuid() == 0: os.setpriority(os.PRIO_PROCESS, 0, -10)
    for cpus in [float(c) for c in os.environ.get("CPUS", "0.2 0.5 2").split()]:
        group = control_group("ounce-fairness", cpus)
        for binary in binaries:
            process = start(binary, settings, group)
            try:
                asyncio.run(closed(2, body, 4))
                capacity = max(asyncio.run(closed(SECONDS / 2, body, connections)) for connections in (4, 8, 16))
                for load in [float(l) for l in os.environ.get("LOADS", "0.5 1 1.4 2").split()]:
                    random.seed(1)
                    got = asyncio.run(offered(SECONDS, body, load * capacity))
                    in_time = sum(status == 200 and took <= 0.5 for status, took in got)
                    accepted = sum(status in (200, 504, 0) for status, _ in got)
                    good = [took * 1e3 for status, took in got if status == 200]
                    print(f"{os.path.basename(binary):14} {cpus:4} CPUs capacity {capacity:6.1f}/s load {load:3} goodput {in_time / SECONDS:6.1f}/s = "
                          f"{in_time / SECONDS / capacity:4.2f} of capacity, {in_time / max(accepted, 1):6.1%} of {accepted} accepted in time, "
                          f"p50 {quantile(good, 0.5):6.0f} p99 {quantile(good, 0.99):6.0f} ms {dict(collections.Counter(status for status, _ in got))}", flush=True)
            finally:
                process.terminate(); process.wait()
        os.rmdir(group)


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or [""]
    if what == "tenants": tenants(rest[0], rest[1], rest[2:] or ["./target/release/ounce"])
    elif what == "promise": promise(rest[0], rest[1:] or ["./target/release/ounce"])
    else: sys.exit(__doc__)
