"""A small client for ounce, with nothing but Python's standard library (3.9 or later).

    python3 examples/python_client.py photo.jpg                       # boxes
    python3 examples/python_client.py photo.jpg --path /v1/classify   # classes
    python3 examples/python_client.py *.jpg --deadline-ms 200 --url http://127.0.0.1:8080

A request that the server has no room or no time for is answered with 429, or with 503 while the server starts or ends. Both
carry Retry-After, the seconds to stay away: this client waits that long and tries again, a few times. Every other refusal is
final: the same request would get the same answer, so it is raised as an `OunceError`, whose text says what would be right.
"""

import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

RETRIED = (429, 503)


class OunceError(Exception):
    """A refusal: `status`, `kind` (as in /errors#kind) and one sentence."""

    def __init__(self, status, kind, detail):
        super().__init__(f"{status} {kind}: {detail}")
        self.status, self.kind, self.detail = status, kind, detail


class Client:
    """Asks one server. `attempts` counts the first try; `patience_s` is the longest single wait."""

    def __init__(self, url="http://127.0.0.1:8080", api_key=None, attempts=4, patience_s=30, timeout_s=60):
        self.url, self.api_key = url.rstrip("/"), api_key
        self.attempts, self.patience_s, self.timeout_s = attempts, patience_s, timeout_s

    def detect(self, image, **parameters):
        """Boxes with labels and scores. `image` is the bytes of a file; parameters are those of docs/http.md."""
        return self.ask("/v1/detect", image, parameters)

    def classify(self, image, **parameters):
        """Labels with scores, the best first."""
        return self.ask("/v1/classify", image, parameters)

    def ask(self, path, image, parameters=None):
        query = urllib.parse.urlencode(parameters or {})
        address = f"{self.url}{path}" + (f"?{query}" if query else "")
        headers = {"Content-Type": "application/octet-stream", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        for attempt in range(1, self.attempts + 1):
            request = urllib.request.Request(address, data=image, headers=headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                refusal = read_problem(error)
                wait = seconds(error.headers.get("Retry-After"))
                if error.code not in RETRIED or attempt == self.attempts or wait > self.patience_s:
                    raise refusal from None
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError):
                # Nobody listens, or the server went away over this request: an image may be sent twice, it changes nothing.
                if attempt == self.attempts:
                    raise
                wait = 1
            time.sleep(wait)


def read_problem(error):
    """What the server said; a proxy in between may say something that is no JSON."""
    try:
        problem = json.load(error)
        return OunceError(error.code, problem["type"].rpartition("#")[2], problem["detail"])
    except (ValueError, KeyError):
        return OunceError(error.code, "unknown", error.reason)


def seconds(retry_after):
    """ounce sends whole seconds; a proxy may leave the header out, or send a date."""
    return max(1, int(retry_after)) if retry_after and retry_after.isdigit() else 1


def main():
    parser = argparse.ArgumentParser(description="Ask an ounce server what is in some images.")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--path", default="/v1/detect")
    parser.add_argument("--deadline-ms", type=int)
    parser.add_argument("--api-key")
    options = parser.parse_args()

    client = Client(options.url, options.api_key)
    parameters = {"deadline_ms": options.deadline_ms} if options.deadline_ms else {}
    failed = False
    for name in options.images:
        with open(name, "rb") as file:
            image = file.read()
        try:
            answer = client.ask(options.path, image, parameters)
        except (OunceError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        for found in answer.get("detections") or answer.get("classes") or []:
            box = found.get("box")
            where = f" at {box['x1']:.0f},{box['y1']:.0f} to {box['x2']:.0f},{box['y2']:.0f}" if box else ""
            print(f"{name}: {found['label']} {found['score']:.2f}{where}")
        print(f"{name}: {answer['timing_ms']['total']:.1f} ms, ${answer['cost']['usd']:.2g}, by {answer['model']}/{answer['variant']}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
