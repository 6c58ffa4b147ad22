"""Writes mean.onnx here and in ../fixed-in-name-only: how bright a picture is.

Here the graph declares any number of pictures, and mixes them up. There it declares one, and would do for any number if
its Reshape did not say 1. Needs `onnx`: python3 tests/models/free-in-name-only/make.py
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

mixes = [
    helper.make_node("ReduceMean", ["image"], ["brightness"], axes=[0, 1, 2, 3], keepdims=0),
    helper.make_node("Shape", ["image"], ["pictures"], start=0, end=1),
    helper.make_node("Concat", ["pictures", "one"], ["rows"], axis=0),
    helper.make_node("Expand", ["brightness", "rows"], ["probability"]),
]
says_one = [
    helper.make_node("ReduceMean", ["image"], ["brightness"], axes=[1, 2, 3], keepdims=0),
    helper.make_node("Reshape", ["brightness", "one_row"], ["probability"]),
]
for folder, batch, nodes in (("free-in-name-only", "n", mixes), ("fixed-in-name-only", 1, says_one)):
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [batch, 1])],
        [
            helper.make_tensor("one_row", TensorProto.INT64, [2], [1, 1]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, Path(__file__).parent.with_name(folder) / "mean.onnx")
