"""Trains the yes/no classifier."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from .augment import camera, colour
from .data import Photos, load
from .loop import Peers, Plan, Runner, as_tensor, train
from .nets import ClassicPresence, Presence
from .score import class_folders, presence_score
from .windows import LABELS, sample

BATCH = 64
WINDOWS_PER_EPOCH = 16_000
SMOOTH = 0.02
TURNS = [cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_90_COUNTERCLOCKWISE]


def make_batch(photos: Photos, step: int, seed: int, mine: slice, batch: int = BATCH):
    """Half yes, half no, augmented."""
    pictures, truth = [], []
    for place in range(batch)[mine]:
        rng = np.random.default_rng([seed, step, place])
        rgb = sample(photos, place % 2 == 0, Presence.SIZE, rng)
        if rng.random() < 0.5:
            rgb = cv2.flip(rgb, 1)
        if rng.random() < 0.05:
            rgb = cv2.rotate(rgb, int(rng.choice(TURNS)))
        pictures.append(camera(colour(rgb, rng), rng))
        truth.append(float(place % 2 == 0))
    return as_tensor(pictures), torch.tensor(truth)[:, None]


def presence_loss(model: nn.Module, x: torch.Tensor, truth: torch.Tensor):
    """Binary cross-entropy with a little label smoothing."""
    with torch.autocast(x.device.type, torch.bfloat16):
        logits = model.raw(x)
    logits = logits.float()
    loss = F.binary_cross_entropy_with_logits(logits, truth * (1 - 2 * SMOOTH) + SMOOTH)
    return loss, {"accuracy": ((logits > 0) == (truth > 0.5)).float().mean().item()}


def train_presence(cache: Path, folder: Path, epochs: int, lr: float, seed: int, minutes: float | None,
                   resume: bool, per_epoch: int | None = None, start: Path | None = None,
                   classic: bool = False) -> None:
    """Trains on windows of `train`, prints the score on the windows of `valid`. `start` is a detector's
    checkpoint."""
    torch.manual_seed(seed)
    photos = load(cache, "train")
    windows = class_folders(cache / "windows", LABELS)
    per_epoch = per_epoch or WINDOWS_PER_EPOCH // BATCH
    plan = Plan(epochs * per_epoch, per_epoch, lr, folder, minutes, evaluate_every=2, seed=seed)
    peers = Peers()
    mine = peers.share(BATCH)

    def evaluate(model) -> dict:
        result = presence_score(Runner(model), *windows)
        return {"score": result["f1"], "valid_accuracy": result["accuracy"]}

    model = ClassicPresence() if classic else Presence()
    if start is not None and not classic:
        model.start_from(torch.load(start, weights_only=True, map_location="cpu")["average"])
    train(model, plan, lambda step: make_batch(photos, step, seed, mine), presence_loss, evaluate, peers, resume)
