"""From a checkpoint to the variants: fp32, fp16, int8, each an ONNX graph with a free batch axis.

int8 is static quantisation in QDQ form by `onnxruntime.quantization`: 8-bit activations with
ranges calibrated on training photos, weights per channel. Three things stay in floats: the
first convolution (its three input channels make a slow int8 convolution, and it reads the picture),
the last layer, and the arithmetic behind it, whose range is that of pixels. In fp16, that
arithmetic stays float32, too.
"""

import copy
import io
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from . import folder as model_folder
from .data import load
from .folder import Session
from .nets import fused, parameters
from .preprocess import letterbox, stretch, to_input
from .windows import cut_window

OPSET = 17
CALIBRATION_PICTURES = 256
HEAVY = ("Conv", "Gemm", "MatMul")


def to_onnx(model: torch.nn.Module, name: str = "fp32") -> bytes:
    """The fused model with a free batch axis `N`, checked."""
    size, buffer = model.SIZE, io.BytesIO()
    torch.onnx.export(
        model, (torch.zeros(2, 3, size, size),), buffer, opset_version=OPSET, dynamo=False,
        input_names=[model.INPUT], output_names=[model.OUTPUT],
        dynamic_axes={model.INPUT: {0: "N"}, model.OUTPUT: {0: "N"}},
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
    print(f"{name}: {' '.join(kinds)}; {parameters(model)} parameters")
    return proto.SerializeToString()


def verify(graph: bytes, model: torch.nn.Module) -> None:
    """A batch of three equals three single runs, and both equal torch."""
    run = Session(graph)
    batch = np.random.default_rng(0).random((3, 3, model.SIZE, model.SIZE), np.float32)
    together = run(batch)
    alone = np.concatenate([run(batch[i : i + 1]) for i in range(3)])
    with torch.inference_mode():
        wanted = model(torch.from_numpy(batch)).numpy()
    for name, other in (("single runs", alone), ("torch", wanted)):
        # Box coordinates run to 224, so the tolerance is relative above 1.
        apart = float((np.abs(together - other) / np.maximum(1, np.abs(other))).max())
        print(f"a batch of 3 is {apart:.1e} from {name}")
        if apart > 1e-4:
            raise RuntimeError(f"the exported model differs from {name}")


def to_fp16(graph: bytes) -> bytes:
    """Half-precision weights and arithmetic; the input and the output stay float32."""
    proto = onnx.load_from_string(graph)
    arithmetic = [node.name for node in behind_the_weights(proto) if node.op_type not in HEAVY]
    return convert_float_to_float16(proto, keep_io_types=True, node_block_list=arithmetic).SerializeToString()


class Calibration(CalibrationDataReader):
    """Training pictures, as the server would feed them."""

    def __init__(self, name: str, batches):
        self.batches = iter([{name: batch} for batch in batches])

    def get_next(self):
        return next(self.batches, None)


def calibration_pictures(cache: Path, detects: bool, size: int, count: int) -> list[np.ndarray]:
    """Whole photos for the detector, windows for the classifier, from fixed random numbers."""
    photos, rng = load(cache, "train"), np.random.default_rng(7)
    if detects:
        chosen = rng.permutation(len(photos))[:count]
        pictures = [letterbox(photos.images[i], size)[0] for i in chosen]
    else:
        pictures = [stretch(cut_window(photos, i % 2 == 0, rng), size) for i in range(count)]
    return [to_input(p[None]) for p in pictures]


def behind_the_weights(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that feed no layer with weights: the last layers themselves, and what follows."""
    made_by = {output: node for node in proto.graph.node for output in node.output}
    heavy = [n for n in proto.graph.node if n.op_type in HEAVY]
    feeds_heavy, todo = set(), [name for node in heavy for name in node.input]
    while todo:
        node = made_by.get(todo.pop())
        if node is not None and node.name not in feeds_heavy:
            feeds_heavy.add(node.name)
            todo += node.input
    return [node for node in proto.graph.node if node.name not in feeds_heavy]


def kept_in_float(proto: onnx.ModelProto) -> list[str]:
    """What static quantisation leaves alone."""
    first = next(n for n in proto.graph.node if n.op_type in HEAVY)
    stem = [first.name] + [n.name for n in proto.graph.node if n.op_type == "Relu" and n.input[0] in first.output]
    return stem + [node.name for node in behind_the_weights(proto)]


def to_int8(graph: bytes, pictures: list[np.ndarray]) -> bytes:
    """Static QDQ, activations u8, weights s8 per channel. Weights use 7 of their bits: so sums of two
    products fit 16 bits where a CPU has no VNNI, and packed files are an eighth smaller."""
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, done = (str(Path(folder) / name) for name in ("plain.onnx", "ready.onnx", "done.onnx"))
        onnx.save(onnx.load_from_string(graph), plain)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        proto = onnx.load(ready)
        quantize_static(
            ready, done, Calibration(proto.graph.input[0].name, pictures),
            quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Add", "Relu", "Resize", "MaxPool", *HEAVY],
            nodes_to_exclude=kept_in_float(proto),
        )
        return Path(done).read_bytes()


def pruned(model: torch.nn.Module, share: float) -> torch.nn.Module:
    """The model with the smallest weights of every dense layer set to zero: nothing for a dense
    kernel, much for the packed file."""
    from torch.nn.utils import prune

    model = copy.deepcopy(model)
    large = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.weight.numel() > 100_000]
    if not large:
        raise SystemExit("--prune is for large dense layers, and this model has none")
    for module in large:
        prune.l1_unstructured(module, "weight", amount=share)
        prune.remove(module, "weight")
    return model


def compress(name: str, model: torch.nn.Module, cache: Path, run: Path, prune_share: float | None,
             count: int = CALIBRATION_PICTURES) -> None:
    """Writes every variant of a trained model to `run/model`, a folder that the server and `ounce
    evaluate` read."""
    if not (run / "best.pt").is_file():
        raise SystemExit(f"{run / 'best.pt'} is missing: run `train {name}` first")
    state = torch.load(run / "best.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(state["average"])
    model = fused(model)
    detects = name == "detector"
    fp32 = to_onnx(model)
    verify(fp32, model)
    pictures = calibration_pictures(cache, detects, model.SIZE, count)
    graphs = {"fp32": fp32, "fp16": to_fp16(fp32), "int8": to_int8(fp32, pictures)}
    if prune_share:
        thinned = pruned(model, prune_share)
        thin = to_onnx(thinned, "pruned")
        verify(thin, thinned)
        graphs["pruned"] = thin
        graphs["pruned-int8"] = to_int8(thin, pictures)
    packed = {variant: model_folder.pack(graph) for variant, graph in graphs.items()}
    for variant, graph in graphs.items():
        weights = sum(numpy_helper.to_array(w).nbytes for w in onnx.load_from_string(graph).graph.initializer)
        print(f"{variant}: {len(graph)} bytes, {weights} of them weights; {len(packed[variant])} packed")
    (run / "scores.json").unlink(missing_ok=True)
    head = model_folder.DETECTOR.format(min_score="0.30") if detects else model_folder.PRESENCE
    model_folder.write_folder(run / "model", head, packed)
