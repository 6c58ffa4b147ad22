"""What the server does to a picture before the model sees it, to the pixel."""

import cv2
import numpy as np


def stretch(rgb: np.ndarray, size: int) -> np.ndarray:
    """Resized to size x size with plain bilinear, the ratio not kept."""
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR)


def letterbox(rgb: np.ndarray, size: int, pad: int = 114) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fitted into size x size with the ratio kept, centred, the rest filled with `pad`.

    Returns the picture, and for x and y the scale (of whole pixels, so a hair apart) and the padding
    before it.
    """
    h, w = rgb.shape[:2]
    scale = min(size / w, size / h)
    new_w, new_h = max(1, round(w * scale)), max(1, round(h * scale))
    if (new_w, new_h) != (w, h):
        rgb = cv2.resize(rgb, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    left = round((size - new_w) / 2 - 0.1)
    top = round((size - new_h) / 2 - 0.1)
    out = np.full((size, size, 3), pad, np.uint8)
    out[top : top + new_h, left : left + new_w] = rgb
    return out, np.array([new_w / w, new_h / h], np.float32), np.array([left, top], np.float32)


def to_input(batch: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in 0..1."""
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / 255
