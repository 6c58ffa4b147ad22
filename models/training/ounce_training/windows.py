"""Windows cut from the photos, with and without a person in them.

The photos nearly all show people, so a large window without one is rare and
naive cutting teaches "blurred means empty". Three things work against that:
photos whose people are covered with background, collages of several windows,
and the same covering patches and collages in pictures that do show a person.
"""

from pathlib import Path

import cv2
import numpy as np

from .augment import covered
from .data import SIDE, Photos
from .preprocess import stretch

RNG = np.random.Generator
MIN_HEIGHT = 0.12  # of the window: a smaller person is neither a yes nor a no
MIN_INSIDE = 0.7   # of the person's area
TRIES = 10_000
LABELS = ["no pedestrian", "pedestrian"]


def shows_person(window: np.ndarray, boxes: np.ndarray) -> bool:
    """Whether one labelled person is mostly inside and large enough."""
    low, high = np.maximum(boxes[:, 1], window[1]), np.minimum(boxes[:, 3], window[3])
    tall = (high - low) / (window[3] - window[1]) >= MIN_HEIGHT
    return bool((tall & (covered(boxes, window) >= MIN_INSIDE)).any())


def cut(rgb: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The pixels of a window with whole coordinates."""
    x1, y1, x2, y2 = window
    return rgb[y1:y2, x1:x2]


def random_window(low: float, high: float, rng: RNG) -> np.ndarray:
    """A window of `low`..`high` of the photo's side, a little out of square."""
    side = SIDE * np.exp(rng.uniform(np.log(low), np.log(high)))
    squeeze = np.exp(rng.uniform(-0.35, 0.35))
    w, h = (int(np.clip(v, 24, SIDE)) for v in (side * squeeze, side / squeeze))
    x, y = rng.integers(0, SIDE - w + 1), rng.integers(0, SIDE - h + 1)
    return np.array([x, y, x + w, y + h])


def large_window(rng: RNG) -> np.ndarray:
    """The whole photo, or nearly."""
    if rng.random() < 0.4:
        return np.array([0, 0, SIDE, SIDE])
    return random_window(0.75, 1.2, rng)


def window_with(boxes: np.ndarray, rng: RNG) -> np.ndarray | None:
    """A window around one person, who fills a random part of it."""
    for _ in range(8):
        x1, y1, x2, y2 = boxes[rng.integers(len(boxes))]
        h = (y2 - y1) / np.exp(rng.uniform(np.log(0.2), np.log(1.1)))
        w = max(h * np.exp(rng.uniform(-0.5, 0.35)), (x2 - x1) * 0.9)
        w, h = int(np.clip(w, 24, SIDE)), int(np.clip(h, 24, SIDE))
        x = rng.uniform(*sorted((x1, x2 - w)))
        y = rng.uniform(*sorted((y1, y2 - h)))
        x, y = int(np.clip(x, 0, SIDE - w)), int(np.clip(y, 0, SIDE - h))
        window = np.array([x, y, x + w, y + h])
        if shows_person(window, boxes):
            return window
    return None


def free_strip(boxes: np.ndarray, rng: RNG) -> np.ndarray | None:
    """A large window on one side of everybody, at most 2.2 times out of square."""
    x1, y1 = np.floor(boxes[:, :2].min(0)).astype(int)
    x2, y2 = np.ceil(boxes[:, 2:].max(0)).astype(int)
    strips = [(0, 0, x1, SIDE), (x2, 0, SIDE, SIDE), (0, 0, SIDE, y1), (0, y2, SIDE, SIDE)]
    strips = [s for s in strips if min(s[2] - s[0], s[3] - s[1]) >= 0.25 * SIDE]
    if not strips:
        return None
    x1, y1, x2, y2 = strips[rng.integers(len(strips))]
    w, h = x2 - x1, y2 - y1
    longest = int(min(w, h) * rng.uniform(1.0, 2.2))
    w, h = min(w, longest), min(h, longest)
    x, y = rng.integers(x1, x2 - w + 1), rng.integers(y1, y2 - h + 1)
    return np.array([x, y, x + w, y + h])


def window_without(boxes: np.ndarray, rng: RNG, low: float = 0.15) -> np.ndarray | None:
    """A window that touches no labelled person, as large as it gets by trying."""
    if not len(boxes):
        return large_window(rng)
    if rng.random() < 0.5:
        window = free_strip(boxes, rng)
        if window is not None:
            return window
    high = 1.0
    for _ in range(20):
        window = random_window(low, high, rng)
        if not (covered(boxes, window) > 0).any():
            return window
        high = max(low * 1.2, high * 0.92)
    return None


def negative_patch(photos: Photos, index: int | None, rng: RNG) -> np.ndarray:
    """Pixels without a labelled person, from photo `index` if it has any free place."""
    for _ in range(20):
        at = index if index is not None else rng.integers(len(photos))
        window = window_without(photos.boxes[at], rng)
        if window is not None:
            return cut(photos.images[at], window)
        index = None
    raise RuntimeError("no window without a person found")


def paste(rgb: np.ndarray, window: np.ndarray, patch: np.ndarray, rng: RNG) -> None:
    """Puts the patch over the window of `rgb`, now and then with soft edges."""
    x1, y1, x2, y2 = window
    w, h = int(x2 - x1), int(y2 - y1)
    patch = cv2.resize(patch, (w, h), interpolation=cv2.INTER_LINEAR)
    edge = int(rng.uniform(0.05, 0.2) * min(w, h))
    if edge < 2 or rng.random() < 0.3:
        rgb[y1:y2, x1:x2] = patch
        return
    ramp_x = np.minimum(np.arange(1, w + 1), np.arange(w, 0, -1)) / edge
    ramp_y = np.minimum(np.arange(1, h + 1), np.arange(h, 0, -1)) / edge
    mask = np.clip(np.minimum.outer(ramp_y, ramp_x), 0, 1)[..., None]
    rgb[y1:y2, x1:x2] = (rgb[y1:y2, x1:x2] * (1 - mask) + patch * mask).astype(np.uint8)


def grown(box: np.ndarray, by: float) -> np.ndarray:
    """The box grown on every side, in whole pixels, inside the photo."""
    w, h = box[2] - box[0], box[3] - box[1]
    out = box + np.array([-w * by, -h * by, w * by, h * by])
    return np.clip([*np.floor(out[:2]), *np.ceil(out[2:])], 0, SIDE).astype(int)


def without_people(photos: Photos, index: int, rng: RNG) -> np.ndarray | None:
    """The photo with every labelled person covered by background."""
    boxes = photos.boxes[index]
    covers = [grown(b, rng.uniform(0.12, 0.3)) for b in boxes]
    if not covers or len(covers) > 6:
        return None
    if sum((c[2] - c[0]) * (c[3] - c[1]) for c in covers) > 0.5 * SIDE * SIDE:
        return None
    rgb = photos.images[index].copy()
    for cover in covers:
        own = index if rng.random() < 0.6 else None
        paste(rgb, cover, negative_patch(photos, own, rng), rng)
    return rgb


def with_patches(photos: Photos, index: int, rng: RNG) -> np.ndarray:
    """The photo with patches where no labelled person is."""
    rgb, boxes = photos.images[index].copy(), photos.boxes[index]
    for _ in range(rng.integers(1, 4)):
        window = random_window(0.12, 0.6, rng)
        if not len(boxes) or covered(boxes, window).max() < 0.1:
            own = index if rng.random() < 0.6 else None
            paste(rgb, window, negative_patch(photos, own, rng), rng)
    return rgb


def positive(photos: Photos, index: int, rng: RNG, altered: bool) -> np.ndarray | None:
    """Pixels that show a person. `altered` allows pasted patches."""
    boxes = photos.boxes[index]
    if not len(boxes):
        return None
    window = large_window(rng) if rng.random() < 0.45 else window_with(boxes, rng)
    if window is None or not shows_person(window, boxes):
        return None
    rgb = photos.images[index]
    if altered and rng.random() < 0.4:
        rgb = with_patches(photos, index, rng)
    return cut(rgb, window)


def negative(photos: Photos, index: int, rng: RNG, altered: bool) -> np.ndarray | None:
    """Pixels without a labelled person. `altered` allows covered people."""
    if altered and rng.random() < 0.45:
        rgb = without_people(photos, index, rng)
        return None if rgb is None else cut(rgb, large_window(rng))
    window = window_without(photos.boxes[index], rng)
    return None if window is None else cut(photos.images[index], window)


def collage(first: np.ndarray, photos: Photos, size: int, rng: RNG) -> np.ndarray:
    """`first` beside one or three windows without people."""
    parts = [first] + [negative_patch(photos, None, rng) for _ in range(3)]
    x, y = (int(v) for v in rng.uniform(0.35, 0.65, 2) * size)
    out = np.empty((size, size, 3), np.uint8)
    if rng.random() < 0.5:
        corners = [(0, 0, x, size), (x, 0, size, size)]
    else:
        corners = [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)]
    rng.shuffle(corners)
    for part, (x1, y1, x2, y2) in zip(parts, corners):
        out[y1:y2, x1:x2] = cv2.resize(part, (int(x2 - x1), int(y2 - y1)))
    return out


def cut_window(photos: Photos, yes: bool, rng: RNG, altered: bool = False) -> np.ndarray:
    """Pixels of the wanted kind, of any size, from a random photo."""
    for _ in range(TRIES):
        index = int(rng.integers(len(photos)))
        pixels = (positive if yes else negative)(photos, index, rng, altered)
        if pixels is not None:
            return pixels
    raise SystemExit(f"no window {'with' if yes else 'without'} a person found in {len(photos)} pictures")


def write_windows(photos: Photos, folder: Path, count: int, seed: int = 20240) -> None:
    """A folder of pictures a class, half with a person, from fixed random numbers: to score with."""
    for yes, label in enumerate(LABELS):
        rng = np.random.default_rng([seed, yes])
        (folder / label).mkdir(parents=True, exist_ok=True)
        for old in (folder / label).iterdir():
            old.unlink()
        for i in range(count // 2):
            bgr = cv2.cvtColor(cut_window(photos, bool(yes), rng), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / label / f"{i:05}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])


def sample(photos: Photos, yes: bool, size: int, rng: RNG) -> np.ndarray:
    """A training picture uint8 [size, size, 3] of the wanted kind, from a random photo."""
    pixels = cut_window(photos, yes, rng, altered=True)
    if rng.random() < 0.12:
        return collage(pixels, photos, size, rng)
    return stretch(pixels, size)
