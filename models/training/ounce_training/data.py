"""Reads a YOLO-format data set once and keeps it as two plain arrays.

`prepare` writes one `<split>.npz` per split into the cache folder:

* `images`: uint8 `[n, 320, 320, 3]`, RGB
* `boxes`:  float32 `[m, 4]`, x1 y1 x2 y2 in pixels of those images
* `owner`:  int32 `[m]`, the image each box belongs to
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

SIDE = 320


@dataclass
class Photos:
    """One split: the pictures, and the boxes of each picture."""

    images: np.ndarray
    boxes: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.images)


def parse_labels(text: str, wanted: int = 0) -> tuple[np.ndarray, int, int]:
    """Boxes (normalised x1 y1 x2 y2) of class `wanted`, polygon count, bad line count.

    A line is `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon,
    of which the bounding box is taken.
    """
    boxes, polygons, bad = [], 0, 0
    for line in text.splitlines():
        parts = line.split()
        if not parts:
            continue
        try:
            label, values = int(float(parts[0])), [float(p) for p in parts[1:]]
        except ValueError:
            bad += 1
            continue
        if label != wanted:
            continue
        if len(values) == 4:
            cx, cy, w, h = values
            box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        elif len(values) >= 6 and len(values) % 2 == 0:
            polygons += 1
            box = [min(values[0::2]), min(values[1::2]), max(values[0::2]), max(values[1::2])]
        else:
            bad += 1
            continue
        box = np.clip(np.array(box, np.float32), 0, 1)
        if box[2] - box[0] < 1e-3 or box[3] - box[1] < 1e-3:
            bad += 1
            continue
        boxes.append(box)
    return np.array(boxes, np.float32).reshape(-1, 4), polygons, bad


def read_rgb(path: Path) -> np.ndarray | None:
    """The picture as RGB, or None when it cannot be decoded."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_folder(folder: Path, wanted: int = 0):
    """Yields (path, rgb or None, normalised boxes or None, polygons, bad lines) by name."""
    for path in sorted((folder / "images").iterdir()):
        label = folder / "labels" / f"{path.stem}.txt"
        boxes, polygons, bad = None, 0, 0
        if label.is_file():
            boxes, polygons, bad = parse_labels(label.read_text(errors="replace"), wanted)
        yield path, read_rgb(path), boxes, polygons, bad


def prepare(data: Path, cache: Path) -> None:
    """Decodes both splits into the cache folder and says what was odd about them."""
    cache.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        images, boxes, owner = [], [], []
        broken = unlabelled = empty = polygons = bad = resized = 0
        for _, rgb, found, n_polygons, n_bad in read_folder(data / split):
            polygons, bad = polygons + n_polygons, bad + n_bad
            if rgb is None:
                broken += 1
                continue
            if found is None:
                unlabelled += 1
                continue
            if rgb.shape[:2] != (SIDE, SIDE):
                resized += 1
                rgb = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
            empty += len(found) == 0
            owner += [len(images)] * len(found)
            boxes.append(found * SIDE)
            images.append(rgb)
        np.savez(
            cache / f"{split}.npz",
            images=np.stack(images),
            boxes=np.concatenate(boxes),
            owner=np.array(owner, np.int32),
        )
        print(
            f"{split}: {len(images)} pictures, {len(owner)} boxes "
            f"({polygons} from polygons); left out: {broken} broken pictures, "
            f"{unlabelled} without a label file, {bad} bad label lines; "
            f"{empty} pictures labelled empty, {resized} resized to {SIDE}x{SIDE}"
        )


def load(cache: Path, split: str) -> Photos:
    """One split from the cache that `prepare` wrote."""
    with np.load(cache / f"{split}.npz") as file:
        images, flat, owner = file["images"], file["boxes"], file["owner"]
    return Photos(images, [flat[owner == i] for i in range(len(images))])


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Each picture as 16x16 greys, mean 0, length 1."""
    small = [cv2.resize(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), (16, 16), interpolation=cv2.INTER_AREA)
             for i in images]
    flat = np.stack(small).reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)


def without_lookalikes(photos: Photos, seen: Photos, limit: float = 0.8) -> Photos:
    """The photos whose thumbnail correlates less than `limit` with each one in `seen`.

    The Capston2 splits share scenes, and copies of one picture in other colours.
    """
    alike = (_thumbnails(photos.images) @ _thumbnails(seen.images).T).max(1)
    keep = np.flatnonzero(alike < limit)
    return Photos(photos.images[keep], [photos.boxes[i] for i in keep])
