"""Trains the pedestrian detector, and scores one."""

from pathlib import Path

import numpy as np
import torch

from .assign import detector_loss
from .augment import detector_picture
from .data import Photos, load
from .loop import Peers, Plan, Runner, as_tensor, train
from .nets import Detector
from .score import detector_score

BATCH = 32
MOSAIC_SHARE = 0.5
CALM_SHARE = 0.15  # the last part of the training sees no mosaics and no two photos at once
MAX_PERSONS = 200


def make_batch(photos: Photos, step: int, progress: float, seed: int, mine: slice, batch: int = BATCH):
    """Pictures, boxes padded to one length, and which of those are real."""
    per_epoch = max(1, len(photos) // batch)
    epoch, at = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(photos))
    order = np.resize(order, max(batch, len(order)))
    share = MOSAIC_SHARE if progress < 1 - CALM_SHARE else 0.0
    pictures, found = [], []
    for place, index in list(enumerate(order[at * batch : (at + 1) * batch]))[mine]:
        rng = np.random.default_rng([seed, 1, step, place])
        rgb, boxes = detector_picture(photos, index, Detector.SIZE, share, rng)
        pictures.append(rgb)
        found.append(boxes[:MAX_PERSONS])
    most = max(1, max(len(b) for b in found))
    truth, real = np.zeros((len(found), most, 4), np.float32), np.zeros((len(found), most), bool)
    for i, b in enumerate(found):
        truth[i, : len(b)], real[i, : len(b)] = b, True
    return as_tensor(pictures), torch.from_numpy(truth), torch.from_numpy(real)


def train_detector(cache: Path, folder: Path, epochs: int, lr: float, seed: int,
                   minutes: float | None, resume: bool, per_epoch: int | None = None) -> None:
    """Trains on `train`, prints the score on `valid`."""
    torch.manual_seed(seed)
    photos, valid = load(cache, "train"), load(cache, "valid")
    per_epoch = per_epoch or max(1, len(photos) // BATCH)
    steps = epochs * per_epoch
    plan = Plan(steps, per_epoch, lr, folder, minutes, evaluate_every=min(10, epochs), seed=seed)
    peers = Peers()
    mine = peers.share(BATCH)

    def evaluate(model) -> dict:
        result = detector_score(Runner(model), valid.images, valid.boxes)
        return {"score": result["ap50"], "f1": result["f1"]}

    def batch(step: int):
        # Batches are made ahead of the clock, so only a run that ends by the clock asks it.
        progress = plan.progress if minutes else step / steps
        return make_batch(photos, step, progress, seed, mine)

    train(Detector(), plan, batch, detector_loss, evaluate, peers, resume)
