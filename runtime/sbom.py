#!/usr/bin/env python3
"""Write what ounce is made of: `python3 runtime/sbom.py OUT METADATA RUNTIME`.

METADATA is what `cargo metadata --locked --format-version 1 --filter-platform TARGET` prints, RUNTIME the folder of ONNX Runtime
that runtime/fetch.py has filled. OUT becomes a folder with two files:

- ounce.cdx.json, a CycloneDX 1.6 document: every crate that is built, with version, licence and the checksum of Cargo.lock (and a
  few more, since cargo counts features that only tests ask for); ONNX Runtime and the models, with the SHA-256 of each file.
- ounce.dep-v0, the same crates in the format of cargo-auditable. As section `.dep-v0` of the binary, it is what scanners (Syft,
  Trivy, Grype, cargo-audit) look for.

Needs only Python 3. The same input gives the same bytes.
"""

import hashlib
import json
import pathlib
import re
import sys
import uuid
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def checksums():
    """The checksum of each crate from a registry, by name and version, as Cargo.lock pins it."""
    lock = (ROOT / "Cargo.lock").read_text()
    entry = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"')
    return {(name, version): digest for name, version, digest in entry.findall(lock)}


def built(metadata):
    """The packages that are built into the binary ("runtime"), or only used to build it ("build"), each with what it needs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    kinds, needs = {}, {}
    waiting = [(metadata["resolve"]["root"], "runtime")]
    while waiting:
        package, kind = waiting.pop()
        if kinds.get(package) in (kind, "runtime"):
            continue
        kinds[package] = kind
        for dependency in nodes[package]["deps"]:
            for how in {of["kind"] for of in dependency["dep_kinds"]} - {"dev"}:
                needs.setdefault(package, set()).add(dependency["pkg"])
                waiting.append((dependency["pkg"], "build" if how == "build" else kind))
    return kinds, needs



def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def crate(package, kind, digests):
    name, version = package["name"], package["version"]
    component = {
        "type": "application" if package["source"] is None else "library",
        "bom-ref": f"pkg:cargo/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:cargo/{name}@{version}",
        "scope": "required" if kind == "runtime" else "excluded",
    }
    if package["license"]:
        # "MIT/Apache-2.0" is how it was once written.
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if digest := digests.get((name, version)):
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return component


def files(kind, paths, name, version, licence=None):
    for path in sorted(paths):
        component = {
            "type": kind,
            "bom-ref": f"file:{name}/{path.name}",
            "name": f"{name}/{path.name}",
            "version": version,
            "hashes": [{"alg": "SHA-256", "content": sha256(path)}],
        }
        if licence:
            component["licenses"] = [{"expression": licence}]
        yield component


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: sbom.py OUT METADATA RUNTIME")
    out, runtime = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])
    metadata = json.loads(pathlib.Path(sys.argv[2]).read_text())
    packages = {package["id"]: package for package in metadata["packages"]}
    kinds, needs = built(metadata)
    root = metadata["resolve"]["root"]
    order = sorted(kinds, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    digests = checksums()
    reference = {id: f"pkg:cargo/{packages[id]['name']}@{packages[id]['version']}" for id in order}
    components = [crate(packages[id], kinds[id], digests) for id in order if id != root]
    libraries = [path for path in runtime.glob("*.so*") if path.is_file()]
    pinned = dict(line.split()[::-1] for line in (ROOT / "runtime/SHA256SUMS").read_text().splitlines())
    versions = {digest: path.rpartition(".so.")[2] for path, digest in pinned.items()}
    version = next((versions[sha256(path)] for path in libraries if sha256(path) in versions), "unknown")
    components += files("library", libraries, "onnxruntime", version, "MIT")
    for model in sorted((ROOT / "models").glob("*/*/*.onnx*")):
        components += files("machine-learning-model", [model], model.parent.parent.name, model.parent.name)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": crate(packages[root], "runtime", digests)},
        "components": components,
        "dependencies": [
            {"ref": reference[id], "dependsOn": sorted(reference[need] for need in needs.get(id, ()))} for id in order
        ],
    }
    text = json.dumps(document, indent=1, sort_keys=True)
    # The same content has the same number.
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    out.mkdir(parents=True, exist_ok=True)
    (out / "ounce.cdx.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")

    place = {id: index for index, id in enumerate(order)}
    auditable = []
    for id in order:
        package = packages[id]
        local = package["source"] is None
        entry = {"name": package["name"], "version": package["version"], "source": "local" if local else "crates.io"}
        if kinds[id] == "build":
            entry["kind"] = "build"
        if needs.get(id):
            entry["dependencies"] = sorted(place[need] for need in needs[id])
        if id == root:
            entry["root"] = True
        auditable.append(entry)
    packed = zlib.compress(json.dumps({"packages": auditable, "format": 1}).encode(), 9)
    (out / "ounce.dep-v0").write_bytes(packed)
    print(f"{out}/ounce.cdx.json: {len(components)} components, {len(order) - 1} of them crates")


if __name__ == "__main__":
    main()
