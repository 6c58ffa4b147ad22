"""From a checkpoint to what the server reads: `1/fp32.onnx.zst` and `model.toml`."""

import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import zstandard

from . import detector, presence
from .data import load
from .nets import Detector, Presence, fused, parameters

OPSET = 17
FOLDERS = {"detector": "pedestrian", "presence": "pedestrian-presence"}
FILE = "fp32.onnx.zst"

DETECTOR_MANIFEST = """\
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
min_score = {min_score:.2f} # the best F1 on the validation photos
iou = 0.5

[[variant]]
name = "fp32"
file = "{file}"
sha256 = "{sha256}"
accuracy = {{ ap50 = {ap50:.3f} }}
"""

PRESENCE_MANIFEST = """\
task = "classify"
labels = ["no pedestrian", "pedestrian"]

[input]
layout = "nchw"
color = "rgb"
fit = "stretch"
scale = 0.00392156862745098

[output]
decode = "sigmoid"

[[variant]]
name = "fp32"
file = "{file}"
sha256 = "{sha256}"
accuracy = {{ accuracy = {accuracy:.3f}, f1 = {f1:.3f} }}
"""


def to_onnx(model: torch.nn.Module, output: str) -> bytes:
    """The fused model with a free batch axis `N`, checked."""
    size, buffer = model.SIZE, io.BytesIO()
    torch.onnx.export(
        model, (torch.zeros(2, 3, size, size),), buffer, opset_version=OPSET, dynamo=False,
        input_names=["image"], output_names=[output],
        dynamic_axes={"image": {0: "N"}, output: {0: "N"}},
    )
    proto = onnx.load_from_string(buffer.getvalue())
    with torch.inference_mode():
        shape = model(torch.zeros(1, 3, size, size)).shape
    for dim, value in zip(proto.graph.output[0].type.tensor_type.shape.dim[1:], shape[1:]):
        dim.dim_value = value
    onnx.checker.check_model(proto, full_check=True)
    kinds = sorted({node.op_type for node in proto.graph.node})
    if "BatchNormalization" in kinds:
        raise RuntimeError("a batch norm was not folded")
    print(f"operations: {' '.join(kinds)}")
    return proto.SerializeToString()


def session_runner(graph: bytes):
    """A function from a numpy batch to the first output, with ONNX Runtime on 1 thread."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def verify(run, model: torch.nn.Module) -> None:
    """A batch of three equals three single runs, and both equal torch."""
    batch = np.random.default_rng(0).random((3, 3, model.SIZE, model.SIZE), np.float32)
    together = run(batch)
    alone = np.concatenate([run(batch[i : i + 1]) for i in range(3)])
    with torch.inference_mode():
        wanted = model(torch.from_numpy(batch)).numpy()
    for name, other in (("single runs", alone), ("torch", wanted)):
        # Box coordinates run to 224, so the tolerance is relative above 1.
        apart = float((np.abs(together - other) / np.maximum(1, np.abs(other))).max())
        print(f"batch of 3 against {name}: {apart:.1e} apart")
        if apart > 1e-4:
            raise RuntimeError(f"the exported model differs from {name}")


def put(path: Path, content: bytes) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.replace(path)


def export(name: str, cache: Path, runs: Path, models: Path) -> None:
    """Exports the averaged weights, measures the exported file, writes it all."""
    state = torch.load(runs / f"{name}.pt", weights_only=True)
    model = Detector() if name == "detector" else Presence()
    model.load_state_dict(state["average"])
    model = fused(model)
    graph = to_onnx(model, "boxes" if name == "detector" else "probability")
    run = session_runner(graph)
    verify(run, model)
    valid = load(cache, "valid")
    if name == "detector":
        result, manifest = detector.measure(run, valid.images, valid.boxes), DETECTOR_MANIFEST
    else:
        result, manifest = presence.measure(run, valid), PRESENCE_MANIFEST
    packed = zstandard.ZstdCompressor(level=19).compress(graph)
    sha256 = hashlib.sha256(packed).hexdigest()
    folder = models / FOLDERS[name]
    put(folder / "1" / FILE, packed)
    put(folder / "model.toml", manifest.format(file=FILE, sha256=sha256, **result).encode())
    print(f"step {state['step']}, {state['seconds']:.0f} s of training, "
          f"{parameters(model)} parameters, {len(graph)} bytes, {len(packed)} packed")
    print(" ".join(f"{k} {v:.4g}" for k, v in result.items()))
