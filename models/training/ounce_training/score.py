"""Scores of a model: what the server would find in pictures, against what people labelled.

`run` is always a function from a float batch `[n, 3, size, size]` to the model's output, and
has the `size`. Nothing here needs torch.
"""

from pathlib import Path

import numpy as np

from . import boxes as geometry
from .data import read_folder, read_rgb
from .preprocess import letterbox, stretch, to_input

SCORE_FLOOR, NMS_IOU, MOST = 0.01, 0.5, 300
OVERLAPS = np.arange(10) * 0.05 + 0.5


def detect(run, images, min_score: float = SCORE_FLOOR, limit: float = NMS_IOU) -> list:
    """(boxes in photo pixels, scores) for each picture."""
    found = []
    for start in range(0, len(images), 16):
        fitted = [letterbox(rgb, run.size) for rgb in images[start : start + 16]]
        outputs = run(to_input(np.stack([f[0] for f in fitted])))
        for (_, scale, padding), output, rgb in zip(fitted, outputs, images[start:]):
            boxes, scores = geometry.decode(output, min_score, limit)
            boxes = (boxes - np.tile(padding, 2)) / np.tile(scale, 2)
            h, w = rgb.shape[:2]
            found.append((np.clip(boxes, 0, [w, h, w, h])[:MOST], scores[:MOST]))
    return found


def detector_score(run, images, truth: list[np.ndarray]) -> dict:
    """AP50, AP50:95, and the threshold of the best F1 with its precision and recall."""
    found, persons = detect(run, images), sum(len(t) for t in truth)
    scores, hits = geometry.match(found, truth)
    score, precision, recall, f1 = geometry.best_threshold(scores, hits, persons)
    every = [geometry.average_precision(*geometry.match(found, truth, o), persons) for o in OVERLAPS]
    return {
        "ap50": every[0], "ap50_95": float(np.mean(every)),
        "min_score": score, "precision": precision, "recall": recall, "f1": f1,
        "pictures": len(images), "persons": persons,
        "curve": geometry.precision_at_recall(scores, hits, persons),
    }


def probabilities(run, pictures) -> np.ndarray:
    """P(pedestrian) for pictures of any size."""
    out = []
    for start in range(0, len(pictures), 64):
        batch = np.stack([stretch(p, run.size) for p in pictures[start : start + 64]])
        out.append(run(to_input(batch))[:, 0])
    return np.concatenate(out)


def presence_score(run, pictures, truth: np.ndarray) -> dict:
    """Accuracy, precision, recall and F1 at 0.5."""
    probability = probabilities(run, pictures)
    said = probability > 0.5  # of equals the first class is answered
    hit = float((said & truth).sum())
    precision, recall = hit / max(said.sum(), 1), hit / max(truth.sum(), 1)
    order = np.argsort(-probability, kind="stable")
    return {
        "accuracy": float((said == truth).mean()),
        "precision": float(precision), "recall": float(recall),
        "f1": float(2 * precision * recall / max(precision + recall, 1e-9)),
        "pictures": len(truth), "yes": int(truth.sum()),
        "curve": geometry.precision_at_recall(probability[order], truth[order], int(truth.sum())),
    }


def labelled_photos(folder: Path):
    """Pictures and their boxes in pixels; a picture without a label file is an empty one."""
    rows = [(rgb, lines) for _, rgb, lines in read_folder(folder) if rgb is not None]
    images = [rgb for rgb, _ in rows]
    truth = [np.zeros((0, 4), np.float32) if lines is None else lines.boxes * np.tile(rgb.shape[1::-1], 2)
             for rgb, lines in rows]
    return images, truth


def class_folders(folder: Path, labels: list[str]):
    """Pictures in folders named like two labels, and which of them are of the second."""
    pictures, truth = [], []
    for yes, label in enumerate(labels):
        if not (folder / label).is_dir():
            raise SystemExit(f"{folder} has no folder `{label}`")
        found = [read_rgb(path) for path in sorted((folder / label).iterdir())]
        pictures += [rgb for rgb in found if rgb is not None]
        truth += [bool(yes)] * (len(pictures) - len(truth))
    return pictures, np.array(truth)
