"""Reads a YOLO-format data set once and keeps it as plain arrays.

`prepare` writes one `<split>.npz` per split into the cache folder:

* `images`: uint8 `[n, 320, 320, 3]`, RGB
* `boxes`:  float32 `[m, 4]`, x1 y1 x2 y2 in pixels of those images
* `owner`:  int32 `[m]`, the image each box belongs to
* `apart`:  (valid only) uint8 `[n]`, bits between its perceptual hash and the nearest training
  picture's, before any were dropped
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .preprocess import letterbox

SIDE = 320


@dataclass
class Photos:
    """One split: the pictures, and the boxes of each picture."""

    images: np.ndarray
    boxes: list[np.ndarray]
    apart: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def only(self, keep: np.ndarray) -> "Photos":
        """Those that `keep` (a mask) names."""
        boxes = [b for b, k in zip(self.boxes, keep) if k]
        return Photos(self.images[keep], boxes, None if self.apart is None else self.apart[keep])


@dataclass
class Lines:
    """What a label file holds."""

    boxes: np.ndarray  # normalised x1 y1 x2 y2, of class 0
    polygons: int = 0  # how many of them were polygons
    others: int = 0    # boxes of other classes
    bad: int = 0       # lines that are neither


def parse_labels(text: str) -> Lines:
    """A line is `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` for a polygon, of which the
    bounding box is taken."""
    boxes, polygons, others, bad = [], 0, 0, 0
    for line in text.splitlines():
        parts = line.split()
        if not parts:
            continue
        try:
            label, values = float(parts[0]), [float(p) for p in parts[1:]]
        except ValueError:
            bad += 1
            continue
        if not np.isfinite([label, *values]).all() or label < 0:
            bad += 1
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
        if box[2] <= box[0] or box[3] <= box[1]:
            bad += 1
        elif int(label) == 0:
            boxes.append(box)
        else:
            others += 1
    return Lines(np.array(boxes, np.float32).reshape(-1, 4), polygons, others, bad)


def read_rgb(path: Path) -> np.ndarray | None:
    """The picture as RGB, or None when it cannot be decoded."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def read_folder(folder: Path, progress=lambda paths: paths):
    """Yields (path, rgb or None, label lines or None) by name."""
    if not (folder / "images").is_dir():
        raise SystemExit(f"{folder} has no folder images/ (beside it, labels/ holds YOLO text labels)")
    for path in progress(sorted((folder / "images").iterdir())):
        label = folder / "labels" / f"{path.stem}.txt"
        yield path, read_rgb(path), parse_labels(label.read_text(errors="replace")) if label.is_file() else None


def read_split(folder: Path, is_whole=lambda path: True) -> tuple[Photos, list[str]]:
    """The pictures of one split at one size, and what was odd about them in words. `is_whole` may
    refuse files that decode in part."""
    from tqdm import tqdm

    def bar(paths):
        return tqdm(paths, desc=folder.name, unit="picture", disable=None)

    images, boxes, broken, unlabelled = [], [], [], []
    total, empty, resized = Lines(np.zeros((0, 4))), 0, 0
    for path, rgb, lines in read_folder(folder, bar):
        if rgb is None or not is_whole(path):
            broken.append(path.name)
            continue
        if lines is None:
            unlabelled.append(path.name)
            continue
        total.polygons, total.others, total.bad = (
            total.polygons + lines.polygons, total.others + lines.others, total.bad + lines.bad)
        h, w = rgb.shape[:2]
        resized += (w, h) != (SIDE, SIDE)
        rgb, scale, padding = letterbox(rgb, SIDE)
        empty += len(lines.boxes) == 0
        images.append(rgb)
        boxes.append(lines.boxes * np.tile(scale * [w, h], 2).astype(np.float32) + np.tile(padding, 2))
    if not any(map(len, boxes)):
        raise SystemExit(f"{folder} holds no picture that can be read and shows somebody (class 0 of its labels)")
    said = [
        f"{len(images)} pictures, {sum(map(len, boxes))} boxes ({total.polygons} from polygons), {empty} labelled empty",
        f"left out: {len(broken)} broken pictures{names(broken)}, {len(unlabelled)} without a label "
        f"file{names(unlabelled)}, {total.bad} bad label lines, {total.others} boxes of other classes",
        f"{resized} resized to {SIDE}x{SIDE}, the ratio kept",
    ]
    return Photos(np.stack(images), boxes), said


def names(paths: list[str]) -> str:
    """The first few, in brackets."""
    return f" ({', '.join(paths[:5])}{', ...' if len(paths) > 5 else ''})" if paths else ""


def write(photos: Photos, path: Path) -> None:
    """One split as arrays, whole or not at all."""
    owner = np.repeat(np.arange(len(photos), dtype=np.int32), [len(b) for b in photos.boxes])
    more = {} if photos.apart is None else {"apart": photos.apart}
    temporary = path.with_name(f"new-{path.name}")
    np.savez(temporary, images=photos.images, boxes=np.concatenate(photos.boxes), owner=owner, **more)
    temporary.replace(path)


def prepare(data: Path, cache: Path, windows: int = 4000) -> None:
    """Decodes both splits into the cache folder, keeps them apart, and says what it did.

    The validation photos stay as they are, so that scores can be compared with others'. From the
    training photos go those that show the same scene as a validation photo (a leak), and
    those that repeat another training photo.
    """
    from .duplicates import SAME_PICTURE, SAME_SCENE, Hashes, is_whole
    from .windows import write_windows

    cache.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split in ("train", "valid"):
        splits[split], said = read_split(data / split, is_whole)
        for line in said:
            print(f"{split}: {line}")
    train, valid = splits.pop("train"), splits.pop("valid")
    theirs, mine = Hashes(valid.images, "valid"), Hashes(train.images, "train")
    nearest = mine.nearest(theirs)
    leaks = nearest <= SAME_SCENE
    valid.apart = theirs.nearest(mine).astype(np.uint8)
    again = mine.repeated(SAME_PICTURE, leaks)
    kept = train.only(~leaks & ~again)
    if not any(map(len, kept.boxes)):
        raise SystemExit("every training picture with somebody in it has a twin in valid: nothing is left to train on")
    print(f"train: dropped {leaks.sum()} that show the scene of a valid picture (perceptual hash within "
          f"{SAME_SCENE} of 64 bits, turned and mirrored too), and {again.sum()} that repeat another "
          f"(within {SAME_PICTURE}); {len(kept)} pictures, {sum(map(len, kept.boxes))} boxes are left")
    print(f"valid: {(valid.apart <= SAME_SCENE).sum()} pictures had such a twin in train, "
          f"{theirs.repeated(SAME_PICTURE).sum()} repeat another; all are kept")
    write(kept, cache / "train.npz")
    write(valid, cache / "valid.npz")
    (cache / "valid.txt").write_text(str((data / "valid").resolve()))
    write_windows(valid, cache / "windows", windows)
    print(f"windows: {windows} windows of valid pictures, half with a person, in {cache / 'windows'}")


def valid_folder(cache: Path) -> Path:
    """Where the validation photos lie that `prepare` read."""
    path = cache / "valid.txt"
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run `prepare` first")
    return Path(path.read_text())


def load(cache: Path, split: str) -> Photos:
    """One split from the cache that `prepare` wrote."""
    path = cache / f"{split}.npz"
    if not path.is_file():
        raise SystemExit(f"{path} is missing: run `prepare` first")
    with np.load(path) as file:
        images, flat, owner = file["images"], file["boxes"], file["owner"]
        apart = file["apart"] if "apart" in file else None
    return Photos(images, [flat[owner == i] for i in range(len(images))], apart)
