"""Trains and measures the pedestrian detector."""

from pathlib import Path

import numpy as np
import torch

from . import boxes as geometry
from .assign import detector_loss
from .augment import detector_picture
from .data import Photos, load
from .loop import Plan, as_tensor, train
from .nets import Detector
from .preprocess import letterbox, to_input

BATCH = 32
MOSAIC_SHARE = 0.35
CALM_SHARE = 0.2  # the last part of the training sees no mosaics
MAX_PERSONS = 60


def make_batch(photos: Photos, step: int, steps: int, seed: int):
    """Pictures, boxes padded to one length, and which of those are real."""
    per_epoch = len(photos) // BATCH
    epoch, at = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(photos))
    rng = np.random.default_rng([seed, 1, step])
    share = MOSAIC_SHARE if step < steps * (1 - CALM_SHARE) else 0.0
    pictures, found = [], []
    for index in order[at * BATCH : (at + 1) * BATCH]:
        rgb, boxes = detector_picture(photos, index, Detector.SIZE, share, rng)
        pictures.append(rgb)
        found.append(boxes[:MAX_PERSONS])
    most = max(1, max(len(b) for b in found))
    truth, real = np.zeros((BATCH, most, 4), np.float32), np.zeros((BATCH, most), bool)
    for i, b in enumerate(found):
        truth[i, : len(b)], real[i, : len(b)] = b, True
    return as_tensor(pictures), torch.from_numpy(truth), torch.from_numpy(real)


def detect(run, images, min_score: float = 0.01, limit: float = 0.5) -> list:
    """(boxes in photo pixels, scores) for each picture; `run` is float batch -> output."""
    found = []
    for start in range(0, len(images), 16):
        fitted = [letterbox(rgb, Detector.SIZE) for rgb in images[start : start + 16]]
        outputs = run(to_input(np.stack([f[0] for f in fitted])))
        for (_, scale, left, top), output, rgb in zip(fitted, outputs, images[start:]):
            boxes, scores = geometry.decode(output, min_score, limit)
            boxes = (boxes - [left, top, left, top]) / scale
            h, w = rgb.shape[:2]
            found.append((np.clip(boxes, 0, [w, h, w, h]), scores))
    return found


def measure(run, images, truth: list[np.ndarray]) -> dict:
    """AP50, and the threshold of the best F1 with its precision and recall."""
    scores, hits = geometry.match(detect(run, images), truth)
    persons = sum(len(t) for t in truth)
    score, precision, recall, f1 = geometry.best_threshold(scores, hits, persons)
    return {
        "ap50": geometry.average_precision(scores, hits, persons),
        "min_score": score, "precision": precision, "recall": recall, "f1": f1,
        "pictures": len(images), "persons": persons,
    }


def torch_runner(model):
    """A function from a numpy batch to the model's numpy output."""
    def run(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(batch)).numpy()
    return run


def train_detector(cache: Path, out: Path, epochs: int, lr: float, seed: int,
                   minutes: float | None, resume: bool) -> None:
    """Trains on `train`, prints the score on `valid`."""
    torch.manual_seed(seed)
    photos, valid = load(cache, "train"), load(cache, "valid")
    per_epoch = len(photos) // BATCH
    steps = epochs * per_epoch
    plan = Plan(steps, per_epoch, lr, out, minutes)

    def evaluate(model) -> str:
        result = measure(torch_runner(model), valid.images, valid.boxes)
        return " ".join(f"{k} {v:.4g}" for k, v in result.items())

    train(Detector(), plan, lambda step: make_batch(photos, step, steps, seed),
          detector_loss, evaluate, resume)
