"""Finds pictures that are the same one: video frames a moment apart, and the copies that data
sets are padded with (turned, mirrored, in other colours).

By perceptual hash: 64 bits that say which low frequencies of a picture are above their median
(`imagehash.phash`). Looked at on Capston2, up to 10 different bits is the same scene; from 12 on
other scenes creep in.
"""

import imagehash
import numpy as np
from PIL import Image

SAME_PICTURE = 2
SAME_SCENE = 10
BITS = 64


def _signs(rgb: np.ndarray) -> np.ndarray:
    """The hash as 64 numbers, 1 or -1."""
    bits = imagehash.phash(Image.fromarray(rgb), hash_size=8).hash.ravel()
    return np.where(bits, 1, -1).astype(np.float32)


def _views(rgb: np.ndarray):
    """The picture in its eight positions."""
    for turns in range(4):
        turned = np.rot90(rgb, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(turned[:, ::-1])


def distances(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Different bits of each of `others` (however turned) from each of `pictures`: [pictures, others]."""
    mine = np.stack([_signs(p) for p in pictures])
    views = np.stack([[_signs(v) for v in _views(p)] for p in others])
    return ((BITS - np.einsum("pb,ovb->vpo", mine, views)) / 2).min(0)


def repeated(pictures: np.ndarray, limit: int = SAME_PICTURE) -> np.ndarray:
    """Which pictures repeat an earlier one that is kept."""
    near = distances(pictures, pictures) <= limit
    drop = np.zeros(len(pictures), bool)
    for i in range(1, len(pictures)):
        drop[i] = (near[i, :i] & ~drop[:i]).any()
    return drop
