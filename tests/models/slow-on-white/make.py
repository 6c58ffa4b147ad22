"""Writes slow.onnx: a graph that says how bright a picture is, and takes its time over white ones.

It holds a worker for a few seconds when a test wants that, with a real session in it. Needs `onnx`:
python3 tests/models/slow-on-white/make.py
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

SIDE = 256  # of the matrices that are multiplied to spend time
ROUNDS = 24_000  # for white: seconds on the fastest CPUs, less than the deadline of 30 s on slow ones


def initializer(name, kind, shape, values):
    return helper.make_tensor(name, kind, shape, values)


body = helper.make_graph(
    [
        helper.make_node("Identity", ["go_on"], ["still_go_on"]),
        helper.make_node("MatMul", ["before", "half"], ["after"]),
    ],
    "body",
    [
        helper.make_tensor_value_info("round", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("before", TensorProto.FLOAT, [SIDE, SIDE]),
    ],
    [
        helper.make_tensor_value_info("still_go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("after", TensorProto.FLOAT, [SIDE, SIDE]),
    ],
)
graph = helper.make_graph(
    [
        helper.make_node("ReduceMean", ["image"], ["brightness"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMax", ["brightness"], ["brightest"], keepdims=0),
        # 0 up to 0.99, ROUNDS for white.
        helper.make_node("Sub", ["brightest", "nearly_white"], ["above"]),
        helper.make_node("Relu", ["above"], ["above_0"]),
        helper.make_node("Mul", ["above_0", "rounds_per_brightness"], ["rounds_f"]),
        helper.make_node("Cast", ["rounds_f"], ["rounds"], to=TensorProto.INT64),
        # A matrix that stays what it is when it is multiplied with itself.
        helper.make_node("Div", ["brightest", "side"], ["share"]),
        helper.make_node("Expand", ["share", "square"], ["half"]),
        helper.make_node("Loop", ["rounds", "yes", "half"], ["end"], body=body),
        helper.make_node("ReduceMin", ["end"], ["least"], keepdims=0),
        # The loop's result counts for nothing, but has to be computed.
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
        helper.make_node("Add", ["brightness", "nothing"], ["sum"]),
        helper.make_node("Unsqueeze", ["sum", "one"], ["probability"]),
    ],
    "slow_on_white",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 8, 8])],
    [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["n", 1])],
    [
        initializer("nearly_white", TensorProto.FLOAT, [], [0.99]),
        initializer("rounds_per_brightness", TensorProto.FLOAT, [], [ROUNDS * 100.0]),
        initializer("square", TensorProto.INT64, [2], [SIDE, SIDE]),
        initializer("side", TensorProto.FLOAT, [], [float(SIDE)]),
        initializer("yes", TensorProto.BOOL, [], [1]),
        initializer("zero", TensorProto.FLOAT, [], [0.0]),
        initializer("one", TensorProto.INT64, [1], [1]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, Path(__file__).with_name("slow.onnx"))
