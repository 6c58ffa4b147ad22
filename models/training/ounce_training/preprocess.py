"""What the server does to a picture before the model sees it, to the pixel."""

import cv2
import numpy as np


def stretch(rgb: np.ndarray, size: int) -> np.ndarray:
    """Resized to size x size with plain bilinear, the ratio not kept."""
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_LINEAR)


def letterbox(rgb: np.ndarray, size: int, pad: int = 114) -> tuple[np.ndarray, float, int, int]:
    """Fitted into size x size with the ratio kept, centred, the rest filled with `pad`.

    Returns the picture, the scale, and the left and top padding.
    """
    h, w = rgb.shape[:2]
    scale = min(size / w, size / h)
    new_w, new_h = round(w * scale), round(h * scale)
    if (new_w, new_h) != (w, h):
        rgb = cv2.resize(rgb, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    left = round((size - new_w) / 2 - 0.1)
    top = round((size - new_h) / 2 - 0.1)
    out = np.full((size, size, 3), pad, np.uint8)
    out[top : top + new_h, left : left + new_w] = rgb
    return out, scale, left, top


def to_input(batch: np.ndarray) -> np.ndarray:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in 0..1."""
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32) / 255
