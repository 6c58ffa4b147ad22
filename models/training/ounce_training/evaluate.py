"""Measures the shipped files again, from the files themselves."""

import time
from pathlib import Path

import numpy as np
import zstandard

from . import detector, presence
from .data import load, read_folder, without_lookalikes
from .export import FILE, FOLDERS, session_runner
from .nets import Detector, Presence


def show(title: str, result: dict) -> None:
    """One line."""
    print(f"{title}: " + ", ".join(f"{k} {v:.4g}" for k, v in result.items()), flush=True)


def milliseconds(run, size: int) -> float:
    """The median of 50 single pictures on one thread."""
    picture, times = np.zeros((1, 3, size, size), np.float32), []
    for _ in range(60):
        began = time.perf_counter()
        run(picture)
        times.append(time.perf_counter() - began)
    return float(np.median(times[10:]) * 1000)


def evaluate(cache: Path, models: Path, other: Path | None) -> None:
    """Both models on `valid`, on the part of it unlike any training photo, and on another folder with COCO's classes if given."""
    valid = load(cache, "valid")
    unseen = without_lookalikes(valid, load(cache, "train"))
    for name, folder in FOLDERS.items():
        packed = (models / folder / "1" / FILE).read_bytes()
        run = session_runner(zstandard.ZstdDecompressor().decompress(packed))
        size = Detector.SIZE if name == "detector" else Presence.SIZE
        print(f"{folder}: {milliseconds(run, size):.2f} ms a picture on one thread")
        if name == "detector":
            show("valid", detector.measure(run, valid.images, valid.boxes))
            show("valid, unlike train", detector.measure(run, unseen.images, unseen.boxes))
        else:
            show("valid", presence.measure(run, valid))
            show("valid, unlike train", presence.measure(run, unseen))
        if other is None:
            continue
        if name == "detector":
            rows = [r for r in read_folder(other) if r[1] is not None]
            truth = [np.zeros((0, 4), np.float32) if r[2] is None
                     else r[2] * np.tile(r[1].shape[1::-1], 2) for r in rows]
            show(other.name, detector.measure(run, [r[1] for r in rows], truth))
        else:
            show(other.name, presence.measure_folder(run, other))
