"""From the detector's output to boxes, and from boxes to a score: plain numpy."""

import numpy as np


def iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of one x1 y1 x2 y2 box with many."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    inter = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod()
    return inter / (area + (boxes[:, 2:] - boxes[:, :2]).prod(1) - inter + 1e-9)


def nms(boxes: np.ndarray, scores: np.ndarray, limit: float) -> np.ndarray:
    """Indices to keep, best first: greedy non-maximum suppression."""
    order, keep = np.argsort(-scores, kind="stable"), []
    while len(order):
        first, order = order[0], order[1:]
        keep.append(first)
        order = order[iou(boxes[first], boxes[order]) <= limit]
    return np.array(keep, int)


def decode(output: np.ndarray, min_score: float, limit: float = 0.5):
    """One picture's [5, cells] to (boxes x1 y1 x2 y2 in input pixels, scores)."""
    output = output[:, output[4] >= min_score]
    centre, half = output[:2].T, output[2:4].T / 2
    boxes, scores = np.concatenate([centre - half, centre + half], 1), output[4]
    keep = nms(boxes, scores, limit)
    return boxes[keep], scores[keep]


def match(found: list, truth: list[np.ndarray], overlap: float = 0.5):
    """Scores and hits of all detections, best first. A person counts once.

    `found` holds (boxes, scores) per picture.
    """
    rows = [(s, i, b) for i, (bs, ss) in enumerate(found) for b, s in zip(bs, ss)]
    rows.sort(key=lambda row: -row[0])
    taken = [np.zeros(len(t), bool) for t in truth]
    hits = np.zeros(len(rows), bool)
    for k, (_, i, box) in enumerate(rows):
        if not len(truth[i]):
            continue
        overlaps = np.where(taken[i], -1.0, iou(box, truth[i]))
        best = int(overlaps.argmax())
        if overlaps[best] >= overlap:
            taken[i][best] = hits[k] = True
    return np.array([row[0] for row in rows]), hits


def average_precision(scores: np.ndarray, hits: np.ndarray, persons: int) -> float:
    """Area under the precision-recall curve, precision made monotone (all points)."""
    if not len(scores):
        return 0.0
    found = np.cumsum(hits)
    recall, precision = found / max(persons, 1), found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(np.concatenate([[0], recall])) * precision))


def precision_at_recall(scores: np.ndarray, hits: np.ndarray, persons: int) -> list[float]:
    """The best precision at recall 0.00, 0.01 ... 1.00 or more; 0 where that is not reached."""
    found = np.cumsum(hits)
    recall, precision = found / max(persons, 1), found / np.arange(1, len(hits) + 1)
    last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # of equal scores
    recall, precision = recall[last], np.maximum.accumulate(precision[last][::-1])[::-1]
    at = np.searchsorted(recall, np.arange(101) / 100)
    return [float(precision[i]) if i < len(precision) else 0.0 for i in at]


def best_threshold(scores: np.ndarray, hits: np.ndarray, persons: int):
    """(score, precision, recall, F1) where F1 is best."""
    if not len(scores):
        return 1.0, 0.0, 0.0, 0.0
    found = np.cumsum(hits)
    recall, precision = found / max(persons, 1), found / np.arange(1, len(hits) + 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    f1[:-1][scores[1:] == scores[:-1]] = 0  # equal scores stand or fall together
    k = int(f1.argmax())
    return float(scores[k]), float(precision[k]), float(recall[k]), float(f1[k])
