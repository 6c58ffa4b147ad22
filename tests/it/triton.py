"""Triton's own client against a running server: `python triton.py HOST:PORT PICTURE`. Prints what it got as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, picture = sys.argv[1:]
client = triton.InferenceServerClient(address)
model = "pedestrian-presence"
report = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready(model),
    "unknown_ready": client.is_model_ready("nobody"),
    "server": client.get_server_metadata(),
    "metadata": client.get_model_metadata(model),
}
[declared] = report["metadata"]["inputs"]
output = report["metadata"]["outputs"][0]["name"]
shape = [2, *declared["shape"][1:]]
values = np.random.default_rng(0).random(shape, dtype=np.float32)


def infer(binary_in, binary_out, **more):
    tensor = triton.InferInput(declared["name"], shape, "FP32")
    tensor.set_data_from_numpy(values, binary_data=binary_in)
    wanted = triton.InferRequestedOutput(output, binary_data=binary_out)
    return client.infer(model, [tensor], outputs=[wanted], **more)


answers = {f"{i}/{o}": infer(i == "binary", o == "binary") for i in ("json", "binary") for o in ("json", "binary")}
report["answers"] = {name: answer.as_numpy(output).ravel().tolist() for name, answer in answers.items()}
report["request_id"] = infer(True, True, request_id="r7").get_response()["id"]
report["gzip"] = infer(True, True, request_compression_algorithm="gzip").as_numpy(output).ravel().tolist()

with open(picture, "rb") as file:
    encoded = np.array([file.read()] * 2, dtype=object)
pictures = triton.InferInput(declared["name"], [2], "BYTES")
pictures.set_data_from_numpy(encoded)
report["pictures"] = client.infer(model, [pictures]).as_numpy(output).ravel().tolist()

labels = triton.InferRequestedOutput(output, class_count=2)
report["classes"] = [c.decode() for c in client.infer(model, [pictures], outputs=[labels]).as_numpy(output).ravel()]

report["stats"] = client.get_inference_statistics(model)["model_stats"][0]
client.unload_model(model)
report["unloaded"] = [client.get_model_repository_index(), client.is_model_ready(model)]
client.load_model(model)
report["loaded"] = [client.get_model_repository_index(), client.is_model_ready(model)]

report["errors"] = {}
wrong_shape = triton.InferInput(declared["name"], [1, 2], "FP32")
wrong_shape.set_data_from_numpy(np.zeros((1, 2), np.float32))
for name, call in {
    "unknown model": lambda: client.infer("nobody", [wrong_shape]),
    "wrong shape": lambda: client.infer(model, [wrong_shape]),
    "unknown output": lambda: client.infer(model, [pictures], outputs=[triton.InferRequestedOutput("nothing")]),
}.items():
    try:
        call()
        report["errors"][name] = "no error"
    except InferenceServerException as error:
        report["errors"][name] = f"{error.status()} {error.message()}"

print(json.dumps(report))
