"""Trains and measures the yes/no classifier."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from .augment import colour
from .data import Photos, load, read_folder
from .loop import Plan, as_tensor, train
from .nets import Presence
from .preprocess import stretch, to_input
from .windows import sample, without_people

BATCH = 64
WINDOWS_PER_EPOCH = 16_000
VALID_WINDOWS = 4_000
SMOOTH = 0.02
TURNS = [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE]


def make_batch(photos: Photos, step: int, seed: int):
    """Half yes, half no, augmented."""
    rng = np.random.default_rng([seed, step])
    pictures = []
    for i in range(BATCH):
        rgb = sample(photos, i % 2 == 0, Presence.SIZE, rng, altered=True)
        if rng.random() < 0.5:
            rgb = cv2.flip(rgb, 1)
        if rng.random() < 0.08:
            rgb = cv2.rotate(rgb, int(rng.choice(TURNS)))
        if rng.random() < 0.25:
            small = int(rng.uniform(40, 120))
            rgb = stretch(cv2.resize(rgb, (small, small), interpolation=cv2.INTER_AREA), Presence.SIZE)
        pictures.append(colour(rgb, rng))
    truth = (torch.arange(BATCH) % 2 == 0).float()[:, None]
    return as_tensor(pictures), truth


def presence_loss(model: Presence, x: torch.Tensor, truth: torch.Tensor):
    """Binary cross-entropy with a little label smoothing."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.logits(x)
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, truth * (1 - 2 * SMOOTH) + SMOOTH)
    return loss, {"accuracy": ((logits > 0) == (truth > 0.5)).float().mean().item()}


def probabilities(run, pictures) -> np.ndarray:
    """P(pedestrian) for pictures of any size."""
    out = []
    for start in range(0, len(pictures), 64):
        batch = np.stack([stretch(p, Presence.SIZE) for p in pictures[start : start + 64]])
        out.append(run(to_input(batch))[:, 0])
    return np.concatenate(out)


def summary(probability: np.ndarray, truth: np.ndarray) -> dict:
    """Accuracy, precision, recall and F1 at 0.5."""
    said = probability >= 0.5
    hit = float((said & truth).sum())
    precision, recall = hit / max(said.sum(), 1), hit / max(truth.sum(), 1)
    return {
        "accuracy": float((said == truth).mean()),
        "precision": float(precision), "recall": float(recall),
        "f1": float(2 * precision * recall / max(precision + recall, 1e-9)),
        "pictures": len(truth), "yes": int(truth.sum()),
    }


def valid_windows(photos: Photos, count: int = VALID_WINDOWS):
    """Unaltered windows from fixed random numbers, half of them with a person."""
    rng = np.random.default_rng(20240)
    truth = np.arange(count) % 2 == 0
    return [sample(photos, yes, Presence.SIZE, rng, altered=False) for yes in truth], truth


def measure(run, photos: Photos) -> dict:
    """The scores on windows cut from `photos`; then the share of whole photos
    that get a yes as they are, and with their people covered."""
    pictures, truth = valid_windows(photos)
    result = summary(probabilities(run, pictures), truth)
    rng = np.random.default_rng(20241)
    covered = [without_people(photos, i, rng) for i in range(len(photos))]
    covered = [c for c in covered if c is not None]
    result["whole_photos_yes"] = float((probabilities(run, list(photos.images)) >= 0.5).mean())
    result["covered_photos_yes"] = float((probabilities(run, covered) >= 0.5).mean())
    result["covered_photos"] = len(covered)
    return result


def measure_folder(run, folder: Path) -> dict:
    """The scores on whole photos of a COCO-like folder, where class 0 is a person."""
    rows = [(rgb, boxes is not None and len(boxes) > 0)
            for _, rgb, boxes, _, _ in read_folder(folder) if rgb is not None]
    return summary(probabilities(run, [r[0] for r in rows]), np.array([r[1] for r in rows]))


def train_presence(cache: Path, out: Path, epochs: int, lr: float, seed: int,
                   minutes: float | None, resume: bool, start: Path | None) -> None:
    """Trains on `train`, prints the score on `valid`. `start` is a detector's checkpoint."""
    from .detector import torch_runner

    torch.manual_seed(seed)
    photos, valid = load(cache, "train"), load(cache, "valid")
    per_epoch = WINDOWS_PER_EPOCH // BATCH
    plan = Plan(epochs * per_epoch, per_epoch, lr, out, minutes, evaluate_every=2)

    def evaluate(model) -> str:
        return " ".join(f"{k} {v:.4g}" for k, v in measure(torch_runner(model), valid).items())

    model = Presence()
    if start is not None:
        model.start_from(torch.load(start, weights_only=True)["average"])
    train(model, plan, lambda step: make_batch(photos, step, seed),
          presence_loss, evaluate, resume)
