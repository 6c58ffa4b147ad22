#!/usr/bin/env python3
"""Fetch ONNX Runtime's shared library, once: `python3 runtime/fetch.py cpu|openvino|gpu`.

pip downloads the wheel pinned in runtime/<flavour>.txt and refuses it when its SHA-256 is another; the libraries inside, and
their licences, are unpacked to .runtime/<flavour>/ and the main one is checked against runtime/SHA256SUMS. Needs only Python 3
and pip.
"""

import hashlib
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
FLAVOURS = ("cpu", "openvino", "gpu")
LICENCES = ("onnxruntime/LICENSE", "onnxruntime/ThirdPartyNotices.txt")


def pinned():
    """The pinned checksums: {"cpu/x86_64/libonnxruntime.so.1.32.0": "0905..."}."""
    lines = (HERE / "SHA256SUMS").read_text().splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in FLAVOURS:
        sys.exit(f"usage: fetch.py {'|'.join(FLAVOURS)}")
    flavour = sys.argv[1]
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    prefix = f"{flavour}/{machine}/"
    wanted = {path.removeprefix(prefix): digest for path, digest in pinned().items() if path.startswith(prefix)}
    if sys.platform != "linux" or not wanted:
        sys.exit(
            f"no '{flavour}' ONNX Runtime is pinned for {sys.platform} on {machine}: install one of version 1.17 or "
            "later and name its file with OUNCE_RUNTIME__LIBRARY"
        )
    [(library, digest)] = wanted.items()
    target = HERE.parent / ".runtime" / flavour
    stamp = target / "VERIFIED"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"fetching ONNX Runtime ({flavour}) …", flush=True)
    target.parent.mkdir(exist_ok=True)
    # Beside the target, so that the last step is one rename.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
            + ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12", "--abi=cp312"]
            + [f"--platform=manylinux_2_{n}_{machine}" for n in (28, 27, 17)]
            + ["--dest", folder, "--requirement", str(HERE / f"{flavour}.txt")],
            check=True,
        )
        [wheel] = pathlib.Path(folder).glob("*.whl")
        unpacked = pathlib.Path(folder) / "libraries"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = member.rpartition("/")[2]
                is_library = member.startswith("onnxruntime/capi/lib") and ".so" in name
                if is_library or member in LICENCES:
                    with archive.open(member) as source, (unpacked / name).open("wb") as sink:
                        shutil.copyfileobj(source, sink)
        found = sha256(unpacked / library)
        if found != digest:
            sys.exit(f"{library} has the SHA-256 {found}, but {digest} is pinned: nothing was installed")
        (unpacked / "VERIFIED").write_text(digest)
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    print(f"ONNX Runtime is in {target.relative_to(HERE.parent)}/", flush=True)


if __name__ == "__main__":
    main()
