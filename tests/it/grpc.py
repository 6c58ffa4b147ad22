"""Real clients of gRPC against a running server: `python grpc.py HOST:PORT PICTURE`. Prints what they got as JSON."""

import json
import queue
import sys
import threading

# This file has the name of the package; the folder must not hide it.
sys.path = [path for path in sys.path if not path.endswith("tests/it")]

import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tritonclient.grpc as triton  # noqa: E402
from google.protobuf.descriptor_pool import DescriptorPool  # noqa: E402
from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: E402
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # noqa: E402
    ProtoReflectionDescriptorDatabase,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

STREAMED = 1000

address, picture = sys.argv[1:]
client = triton.InferenceServerClient(address)
model = "pedestrian-presence"
report = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready(model),
    "unknown_ready": client.is_model_ready("nobody"),
    "server": client.get_server_metadata(as_json=True),
    "metadata": client.get_model_metadata(model, as_json=True),
    "config": client.get_model_config(model, as_json=True)["config"],
}
[declared] = report["metadata"]["inputs"]
output = report["metadata"]["outputs"][0]["name"]
shape = [2, *map(int, declared["shape"][1:])]
values = np.random.default_rng(0).random(shape, dtype=np.float32)


def tensor():
    """The values as an input, raw as Triton's client always sends them."""
    value = triton.InferInput(declared["name"], shape, "FP32")
    value.set_data_from_numpy(values)
    return value


def code(call):
    """The code and the text with which a call ends."""
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}"
    except grpc.RpcError as error:
        return f"{error.code()} {error.details()}"
    return "no error"


# Raw and typed contents, packed and compressed, with everything that a request can ask for.
answer = client.infer(model, [tensor()], request_id="r7", priority=1, timeout=20_000_000, client_timeout=60)
report["raw"] = answer.as_numpy(output).ravel().tolist()
report["request_id"] = answer.get_response().id
parameters = answer.get_response().parameters
report["parameters"] = {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in parameters.items()}
for algorithm in ("gzip", "deflate"):
    packed = client.infer(model, [tensor()], compression_algorithm=algorithm)
    report[algorithm] = packed.as_numpy(output).ravel().tolist()

stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
typed = service_pb2.ModelInferRequest(model_name=model)
typed_input = typed.inputs.add(name=declared["name"], datatype="FP32", shape=shape)
typed_input.contents.fp32_contents.extend(values.ravel().tolist())
report["typed"] = np.frombuffer(stub.ModelInfer(typed).raw_output_contents[0], np.float32).tolist()
both = service_pb2.ModelInferRequest()
both.CopyFrom(typed)
both.raw_input_contents.append(values.tobytes())

# Encoded pictures, raw and typed.
with open(picture, "rb") as file:
    encoded = file.read()


def pictures(count=1):
    """Encoded pictures as an input."""
    value = triton.InferInput(declared["name"], [count], "BYTES")
    value.set_data_from_numpy(np.array([encoded] * count, dtype=object))
    return value


report["pictures"] = client.infer(model, [pictures(2)]).as_numpy(output).ravel().tolist()
typed_pictures = service_pb2.ModelInferRequest(model_name=model)
typed_pictures.inputs.add(name=declared["name"], datatype="BYTES", shape=[1]).contents.bytes_contents.append(encoded)
report["typed_pictures"] = np.frombuffer(stub.ModelInfer(typed_pictures).raw_output_contents[0], np.float32).tolist()
labels = triton.InferRequestedOutput(output, class_count=2)
report["classes"] = [c.decode() for c in client.infer(model, [pictures()], outputs=[labels]).as_numpy(output).ravel()]

# A stream of many pictures: each is answered, in order. One that is refused ends nothing.
got = queue.Queue()
stream = triton.InferenceServerClient(address)
stream.start_stream(callback=lambda result, error: got.put((result, error)))
for i in range(STREAMED):
    stream.async_stream_infer(model if i != 500 else "nobody", [pictures()], request_id=str(i))
report["streamed"], report["stream_errors"] = [], []
for _ in range(STREAMED):
    result, error = got.get(timeout=600)
    if error:
        report["stream_errors"].append(error.message())
    else:
        report["streamed"].append(int(result.get_response().id))
        final = result.get_response().parameters["triton_final_response"].bool_param
        assert final, "an answer of a stream is its request's last one"
stream.stop_stream()

# Given up in the middle: what was asked for is dropped, and the server goes on.
broken = triton.InferenceServerClient(address)
broken.start_stream(callback=lambda result, error: got.put((result, error)))
for i in range(200):
    broken.async_stream_infer(model, [pictures()], request_id=str(i))
got.get(timeout=600)
broken.stop_stream(cancel_requests=True)

# Two clients at once.
together = [[], []]


def ask(into):
    """Asks ten times, on a connection of its own."""
    own = triton.InferenceServerClient(address)
    into.extend(own.infer(model, [tensor()]).as_numpy(output).ravel().tolist() for _ in range(10))


threads = [threading.Thread(target=ask, args=(into,)) for into in together]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
report["together"] = [len(answers) == 10 and all(answer == report["raw"] for answer in answers) for answers in together]

report["stats"] = client.get_inference_statistics(model, as_json=True)["model_stats"][0]

# gRPC's own services.
health = health_pb2_grpc.HealthStub(grpc.insecure_channel(address))


def status(service):
    """What the health check says of a service."""
    answer = health.Check(health_pb2.HealthCheckRequest(service=service))
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


watch = health.Watch(health_pb2.HealthCheckRequest(service=model))
report["health"] = [status(""), status("inference.GRPCInferenceService"), status(model), next(watch).status]
database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(address))
report["services"] = sorted(database.get_services())
service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
report["methods"] = sorted(method.name for method in service.methods)

client.unload_model(model)
report["unloaded"] = [client.get_model_repository_index(as_json=True)["models"], client.is_model_ready(model)]
report["watched"] = next(watch).status
client.load_model(model)
report["loaded"] = [client.get_model_repository_index(as_json=True)["models"], client.is_model_ready(model)]
watch.cancel()


def _no_picture():
    """Bytes that are no picture."""
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(name=declared["name"], datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"nothing")
    return request


def _many_inputs():
    """Two bytes an input on the wire."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for _ in range(65_536):
        request.inputs.add()
    return request


def _too_large():
    """A message over the limit of four pictures."""
    return service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[bytes(81_000_000)])


wrong_shape = triton.InferInput(declared["name"], [1, 2], "FP32")
wrong_shape.set_data_from_numpy(np.zeros((1, 2), np.float32))
huge = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[b"1234"])
huge.inputs.add(name=declared["name"], datatype="FP32", shape=[2**31, 2**31])
report["errors"] = {
    "unknown model": code(lambda: client.infer("nobody", [tensor()])),
    "unknown version": code(lambda: client.infer(model, [tensor()], model_version="99")),
    "wrong shape": code(lambda: client.infer(model, [wrong_shape])),
    "unknown output": code(lambda: client.infer(model, [pictures()], outputs=[triton.InferRequestedOutput("no")])),
    "no picture": code(lambda: stub.ModelInfer(_no_picture())),
    "huge": code(lambda: stub.ModelInfer(huge)),
    "both": code(lambda: stub.ModelInfer(both)),
    "many inputs": code(lambda: stub.ModelInfer(_many_inputs())),
    "too large": code(lambda: stub.ModelInfer(_too_large())),
    "too late": code(lambda: client.infer(model, [pictures(64)], timeout=1)),
    "shared memory": code(lambda: client.register_system_shared_memory("../x", "/etc/passwd", 8)),
    "unknown health": code(lambda: status("nobody")),
    "load parameter": code(lambda: client.load_model(model, config="{}")),
}

print(json.dumps(report))
