"""Turns photos into training pictures: scale, crop, flip, mosaic, patches, colour, camera faults.

The training photos are few and from few places, so they are changed much: the net is
to know people anywhere, not these corridors.
"""

import cv2
import numpy as np

PAD = (114, 114, 114)
RNG = np.random.Generator


def colour(rgb: np.ndarray, rng: RNG) -> np.ndarray:
    """Brightness, contrast, gamma, tint, hue and saturation; now and then grey."""
    ramp = np.arange(256, dtype=np.float32) / 255
    ramp = ramp ** np.exp(rng.uniform(-0.5, 0.5))
    ramp = (ramp - 0.5) * rng.uniform(0.6, 1.4) + 0.5 + rng.uniform(-0.2, 0.2)
    gains = rng.uniform(0.85, 1.15, 3).astype(np.float32)
    table = np.clip(ramp[:, None] * gains * 255, 0, 255).astype(np.uint8)
    out = cv2.LUT(rgb, table.reshape(1, 256, 3))
    chance = rng.random()
    if chance < 0.12:
        return cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if chance < 0.6:
        steps = np.arange(256)
        hue = ((steps + rng.integers(-14, 15)) % 180).astype(np.uint8)
        saturation = np.clip(steps * rng.uniform(0.4, 1.5), 0, 255).astype(np.uint8)
        table = np.stack([hue, saturation, steps.astype(np.uint8)], 1).reshape(1, 256, 3)
        out = cv2.cvtColor(cv2.LUT(cv2.cvtColor(out, cv2.COLOR_RGB2HSV), table), cv2.COLOR_HSV2RGB)
    return out


def camera(rgb: np.ndarray, rng: RNG) -> np.ndarray:
    """What cheap cameras do: blur, coarse pixels, noise, JPEG blocks. One at a time, if any."""
    fault, size = rng.random(), rgb.shape[1::-1]
    if fault < 0.08:
        return cv2.blur(rgb, (3, 3))
    if fault < 0.18:
        share = rng.uniform(0.35, 0.8)
        small = cv2.resize(rgb, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    if fault < 0.26:
        noise = rng.normal(0, rng.uniform(3, 14), rgb.shape).astype(np.float32)
        return np.clip(rgb + noise, 0, 255).astype(np.uint8)
    if fault < 0.34:
        packed = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])[1]
        return cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return rgb


def quarter_turn(rgb: np.ndarray, boxes: np.ndarray, clockwise: bool):
    """The picture and its boxes turned by 90 degrees."""
    h, w = rgb.shape[:2]
    x1, y1, x2, y2 = boxes.T
    if clockwise:
        return cv2.rotate(rgb, cv2.ROTATE_90_CLOCKWISE), np.stack([h - y2, x1, h - y1, x2], 1)
    return cv2.rotate(rgb, cv2.ROTATE_90_COUNTERCLOCKWISE), np.stack([y1, w - x2, y2, w - x1], 1)


def clip_boxes(boxes: np.ndarray, w: float, h: float, keep: float = 0.25) -> np.ndarray:
    """Boxes cut to the canvas; gone if less than `keep` of their area is left."""
    if not len(boxes):
        return boxes
    cut = np.clip(boxes, 0, [w, h, w, h])
    size, full = cut[:, 2:] - cut[:, :2], boxes[:, 2:] - boxes[:, :2]
    left = size.prod(1) / np.maximum(full.prod(1), 1e-6)
    return cut[(left >= keep) & (size.min(1) > 3)]


def place(rgb: np.ndarray, boxes: np.ndarray, w: int, h: int, zoom: float, rng: RNG):
    """The photo scaled by `zoom` (a little out of ratio), maybe flipped, put
    somewhere on a w x h canvas."""
    if rng.random() < 0.05:
        rgb, boxes = quarter_turn(rgb, boxes, rng.random() < 0.5)
    src_h, src_w = rgb.shape[:2]
    squeeze = np.exp(rng.uniform(-0.2, 0.2))
    sx, sy = zoom * squeeze, zoom / squeeze
    room_x, room_y = w - src_w * sx, h - src_h * sy
    tx, ty = room_x * rng.random(), room_y * rng.random()
    if rng.random() < 0.5:
        sx, tx = -sx, tx + src_w * sx
    # Pixel centres sit at +0.5, as in cv2.resize.
    matrix = np.array(
        [[sx, 0, tx + 0.5 * sx - 0.5], [0, sy, ty + 0.5 * sy - 0.5]], np.float32
    )
    out = cv2.warpAffine(rgb, matrix, (w, h), flags=cv2.INTER_LINEAR, borderValue=PAD)
    boxes = boxes * np.array([sx, sy, sx, sy], np.float32)
    boxes = boxes + np.array([tx, ty, tx, ty], np.float32)
    if sx < 0:
        boxes = boxes[:, [2, 1, 0, 3]]
    return out, clip_boxes(boxes, w, h)


def single(photos, index: int, size: int, rng: RNG):
    """One photo filling most of the canvas."""
    rgb, boxes = photos.images[index], photos.boxes[index]
    zoom = size / rgb.shape[0] * np.exp(rng.uniform(np.log(0.5), np.log(2.2)))
    return place(rgb, boxes, size, size, zoom, rng)


def mosaic(photos, index: int, size: int, rng: RNG):
    """Four photos around a random point (Bochkovskiy et al. 2020, YOLOv4), or nine in a grid, which
    shows people as small as they are in wide views."""
    n = 3 if rng.random() < 0.4 else 2
    lines = np.arange(n + 1) * size / n
    lines = [np.concatenate([[0], lines[1:-1] + rng.uniform(-0.2, 0.2, n - 1) * size / n * (4 - n), [size]]).astype(int)
             for _ in range(2)]
    canvas, found = np.empty((size, size, 3), np.uint8), []
    for place_at, i in enumerate([index, *rng.integers(0, len(photos), n * n - 1)]):
        (x1, x2), (y1, y2) = (axis[k : k + 2] for axis, k in zip(lines, (place_at % n, place_at // n)))
        rgb, boxes = photos.images[i], photos.boxes[i]
        zoom = max(x2 - x1, y2 - y1) / rgb.shape[0] * np.exp(rng.uniform(-0.2, 1.0 if n == 2 else 0.6))
        part, boxes = place(rgb, boxes, x2 - x1, y2 - y1, zoom, rng)
        canvas[y1:y2, x1:x2] = part
        found.append(boxes + np.array([x1, y1, x1, y1], np.float32))
    return canvas, np.concatenate(found)


def patches(rgb: np.ndarray, boxes: np.ndarray, photos, rng: RNG):
    """Covers a place or two with pieces of other photos that hold no labelled person. A person
    mostly covered is no longer asked for."""
    size = rgb.shape[0]
    for _ in range(rng.integers(1, 3)):
        i = rng.integers(len(photos))
        w, h = (int(v) for v in size * rng.uniform(0.1, 0.45, 2))
        source, theirs = photos.images[i], photos.boxes[i]
        x, y = (int(rng.integers(0, source.shape[k] - v)) for k, v in ((1, w), (0, h)))
        if len(theirs) and covered(theirs, (x, y, x + w, y + h)).max() > 0:
            continue
        at_x, at_y = int(rng.integers(0, size - w)), int(rng.integers(0, size - h))
        rgb[at_y : at_y + h, at_x : at_x + w] = source[y : y + h, x : x + w]
        if len(boxes):
            boxes = boxes[covered(boxes, (at_x, at_y, at_x + w, at_y + h)) < 0.6]
    return rgb, boxes


def covered(boxes: np.ndarray, window) -> np.ndarray:
    """How much of each box lies inside the window."""
    low, high = np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])
    return np.clip(high - low, 0, None).prod(1) / np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)


def detector_picture(photos, index: int, size: int, mosaic_share: float, rng: RNG):
    """A training picture uint8 [size, size, 3] and its boxes."""
    make = mosaic if rng.random() < mosaic_share else single
    rgb, boxes = make(photos, index, size, rng)
    if rng.random() < 0.25:
        rgb, boxes = patches(rgb, boxes, photos, rng)
    if mosaic_share and rng.random() < 0.1:
        other, theirs = single(photos, int(rng.integers(len(photos))), size, rng)
        rgb, boxes = cv2.addWeighted(rgb, 0.5, other, 0.5, 0), np.concatenate([boxes, theirs])
    return camera(colour(rgb, rng), rng), boxes
