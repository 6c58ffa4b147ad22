"""Makes tests/it/tiny_detr.onnx, a graph with a DETR's inputs and outputs and nothing learned: `python tiny_detr.py`.

One box covers the left half of the picture (in its own pixels, by the size it is told), its score is the mean of the
input, its label is 1. Needs the package `onnx`.
"""

import pathlib

from onnx import TensorProto, checker, helper, numpy_helper, save
import numpy as np

half = numpy_helper.from_array(np.array([[0.0, 0.0, 0.5, 1.0]], np.float32), "half")
twice = numpy_helper.from_array(np.array([1, 2], np.int64), "twice")
one = numpy_helper.from_array(np.array([1], np.int64), "one")
nodes = [
    helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=TensorProto.FLOAT),
    helper.make_node("Tile", ["size", "twice"], ["size_twice"]),
    helper.make_node("Mul", ["size_twice", "half"], ["flat_boxes"]),
    helper.make_node("Unsqueeze", ["flat_boxes", "one"], ["boxes"]),
    helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
    helper.make_node("Unsqueeze", ["mean", "one"], ["scores"]),
    helper.make_node("Shape", ["scores"], ["shape"]),
    helper.make_node("ConstantOfShape", ["shape"], ["labels"], value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
]
graph = helper.make_graph(
    nodes,
    "tiny_detr",
    [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, 32, 32]),
        helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["N", 2]),
    ],
    [
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", 1]),
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 1, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1]),
    ],
    [half, twice, one],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
checker.check_model(model)
save(model, pathlib.Path(__file__).with_name("tiny_detr.onnx"))
