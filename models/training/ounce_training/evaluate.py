"""Scores every variant of a model folder, from the files themselves, with ONNX Runtime and
plain numpy: no torch, and none of the server's code. `ounce evaluate` must come to the same.
"""

import json
import time
from pathlib import Path

import numpy as np

from . import folder as model_folder
from .score import class_folders, detector_score, labelled_photos, presence_score


def milliseconds(runs: dict, rounds: int = 60) -> dict[str, float]:
    """The median of single pictures on one thread, all variants in turn."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            picture = np.zeros((1, 3, run.size, run.size), np.float32)
            began = time.perf_counter()
            run(picture)
            times[name].append(time.perf_counter() - began)
    return {name: float(np.median(t[5:]) * 1000) for name, t in times.items()}


def evaluate(folder: Path, data: Path, apart: np.ndarray | None = None, other: Path | None = None,
             quiet: bool = False) -> dict:
    """Scores by variant. `apart` marks pictures (in order of name) to score once more alone; `other`
    is labelled like `data`, and from elsewhere."""
    manifest = model_folder.read_manifest(folder)
    if manifest["output"]["decode"] not in ("yolov8", "sigmoid") or manifest["input"].get("fit") == "crop":
        raise SystemExit(f"{folder} is not one of our two models; `ounce evaluate` scores any")
    runs = {v["name"]: model_folder.Session(model_folder.read_graph(folder, v)) for v in manifest["variant"]}
    detects = manifest["task"] == "detect"
    pictures, truth = labelled_photos(data) if detects else class_folders(data, manifest["labels"])
    elsewhere = labelled_photos(other) if other else None
    score = detector_score if detects else presence_score
    ms, result = milliseconds(runs), {}
    for variant, run in zip(manifest["variant"], runs.values()):
        name = variant["name"]
        result[name] = score(run, pictures, truth)
        if apart is not None and len(apart) != len(pictures):
            raise SystemExit(f"{data} holds {len(pictures)} pictures, `prepare` kept {len(apart)}: give all a label file")
        if apart is not None and apart.any():
            some = [p for p, k in zip(pictures, apart) if k], [t for t, k in zip(truth, apart) if k]
            result[name]["apart"] = without_curve(score(run, *some))
        if elsewhere:
            result[name]["other"] = without_curve(score(run, *elsewhere))
        result[name]["ms"] = ms[name]
        result[name]["sha256"] = variant["sha256"]
        result[name]["bytes"] = (folder / model_folder.VERSION / variant["file"]).stat().st_size
        if not quiet:
            print(line(name, result[name]), flush=True)
    return result


def without_curve(result: dict) -> dict:
    """The numbers alone."""
    return {k: v for k, v in result.items() if k != "curve"}


def line(name: str, result: dict) -> str:
    """One variant in words."""
    shown = [f"{k} {v:.4g}" for k, v in result.items() if isinstance(v, (int, float))]
    if "apart" in result:
        shown.append(f"; the {result['apart']['pictures']} of scenes that train never showed: ap50 {result['apart']['ap50']:.4g}")
    if "other" in result:
        shown.append(f"; elsewhere: ap50 {result['other']['ap50']:.4g} ap50_95 {result['other']['ap50_95']:.4g}")
    return f"{name:<24} " + " ".join(shown)


def write(result: dict, path: Path) -> None:
    """For `export`, which reads it."""
    model_folder.put(path, json.dumps(result, indent=1).encode())
