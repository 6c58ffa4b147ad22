"""A model folder as the server reads it: `model.toml`, and a packed ONNX file a variant in `1/`."""

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import zstandard

VERSION = "1"

DETECTOR = """\
task = "detect"
labels = ["person"]

[input]
layout = "nchw"
color = "rgb"
fit = "letterbox"
pad = 114
scale = 0.00392156862745098

[output]
decode = "yolov8"
min_score = {min_score}
iou = 0.5
"""

PRESENCE = """\
task = "classify"
labels = ["no pedestrian", "pedestrian"]

[input]
layout = "nchw"
color = "rgb"
fit = "stretch"
scale = 0.00392156862745098

[output]
decode = "sigmoid"
"""

VARIANT = """
[[variant]]
name = "{name}"
file = "{file}"
sha256 = "{sha256}"
"""


class Session:
    """A function from a numpy batch to the first output, on one thread of ONNX Runtime's CPU provider."""

    def __init__(self, graph: bytes):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]
        self.size = self.input.shape[-1]

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input.name: batch})[0]


def read_manifest(folder: Path) -> dict:
    """What `model.toml` says."""
    return tomllib.loads((folder / "model.toml").read_text())


def read_graph(folder: Path, variant: dict) -> bytes:
    """The ONNX file of a variant, unpacked."""
    packed = (folder / VERSION / variant["file"]).read_bytes()
    if variant["file"].endswith(".zst"):
        return zstandard.ZstdDecompressor().decompress(packed)
    return packed


def put(path: Path, content: bytes) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def pack(graph: bytes) -> bytes:
    """As small as zstd makes it."""
    return zstandard.ZstdCompressor(level=22).compress(graph)


def write_folder(folder: Path, head: str, packed: dict[str, bytes], accuracy: dict[str, dict] | None = None) -> None:
    """A whole model folder, from packed graphs by variant name, the default first. Files of other
    variants go."""
    text = head
    for name, content in packed.items():
        file = f"{name}.onnx.zst"
        put(folder / VERSION / file, content)
        text += VARIANT.format(name=name, file=file, sha256=hashlib.sha256(content).hexdigest())
        if accuracy:
            text += f"accuracy = {{ {', '.join(f'{k} = {v:.3f}' for k, v in accuracy[name].items())} }}\n"
    put(folder / "model.toml", text.encode())
    for old in (folder / VERSION).glob("*.onnx*"):
        if old.name.removesuffix(".onnx.zst") not in packed:
            old.unlink()
