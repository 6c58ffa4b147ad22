"""The detector's loss: which cells answer for which person, and how well.

Task-aligned assignment (TOOD, as in YOLOv8): for each person the ten cells
inside the box whose score and overlap agree best; the score's target is that
agreement. Binary cross-entropy on the score, GIoU on the box.
"""

import torch
from torch import distributed
from torch.nn import functional as F

TOP = 10
SCORE_POWER, OVERLAP_POWER = 0.5, 6.0
BOX_WEIGHT = 5.0


def pair_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU of [n, m, 4] against [n, k, 4]: [n, m, k]."""
    low = torch.maximum(a[:, :, None, :2], b[:, None, :, :2])
    high = torch.minimum(a[:, :, None, 2:], b[:, None, :, 2:])
    inter = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[..., 2:] - x[..., :2]).clamp(min=0).prod(-1) for x in (a, b))
    return inter / (area_a[:, :, None] + area_b[:, None] - inter + 1e-7)


def giou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised IoU of matching boxes, [k]."""
    inter = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    inter = inter.prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inter + 1e-7
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(1) + 1e-7
    return inter / union - (hull - union) / hull


@torch.no_grad()
def assign(scores: torch.Tensor, boxes: torch.Tensor, truth: torch.Tensor,
           real: torch.Tensor, centres: torch.Tensor):
    """Score targets [n, cells] and the index of the person of each cell [n, cells].

    `scores` [n, cells] in 0..1, `boxes` [n, cells, 4], `truth` [n, m, 4],
    `real` [n, m] marks which rows of truth are not padding, `centres` [2, cells].
    """
    x, y = centres
    inside = (
        (x > truth[..., 0:1]) & (x < truth[..., 2:3]) & (y > truth[..., 1:2]) & (y < truth[..., 3:4])
    ) & real[..., None]
    overlap = pair_iou(truth, boxes) * inside
    fit = scores[:, None].pow(SCORE_POWER) * overlap.pow(OVERLAP_POWER)
    best = fit.topk(TOP, dim=2).indices
    chosen = torch.zeros_like(inside).scatter_(2, best, True) & inside
    # A cell that several persons chose goes to the one it overlaps most.
    owner = (overlap + 1e-6 * inside).masked_fill(~chosen, -1).argmax(1)
    mine = torch.zeros_like(chosen).scatter_(1, owner[:, None], True) & chosen
    fit, overlap = fit * mine, overlap * mine
    scaled = fit / (fit.amax(2, keepdim=True) + 1e-9) * overlap.amax(2, keepdim=True)
    return scaled.amax(1), owner, mine.any(1)


def detector_loss(model, pictures: torch.Tensor, truth: torch.Tensor, real: torch.Tensor):
    """The loss to minimise and its parts by name."""
    with torch.autocast(pictures.device.type, torch.bfloat16):
        raw = model.raw(pictures)
    raw = raw.float()
    boxes, logits = model.sides(raw).transpose(1, 2), raw[:, 4]
    target, owner, positive = assign(
        logits.detach().sigmoid(), boxes.detach(), truth, real, model.centres
    )
    total = target.sum()
    if distributed.is_initialized():  # the gradients are averaged: so must be what divides them
        distributed.all_reduce(total)
        total = total / distributed.get_world_size()
    total = total.clamp(min=1.0)
    score_loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / total
    wanted = truth.gather(1, owner[..., None].expand(-1, -1, 4))[positive]
    overlap = giou(boxes[positive], wanted)
    box_loss = ((1 - overlap) * target[positive]).sum() / total
    loss = score_loss + BOX_WEIGHT * box_loss
    return loss, {"score_loss": score_loss.item(), "box_loss": box_loss.item()}
