"""Finds pictures that are the same one: video frames a moment apart, and the copies that data
sets are padded with (turned, mirrored, in other colours).

By perceptual hash: 64 bits that say which low frequencies of a picture are above their median
(`imagehash.phash`). Looked at on Capston2, up to 10 different bits is the same scene; from 12 on
other scenes creep in.
"""

from pathlib import Path

import imagehash
import numpy as np
from PIL import Image
from tqdm import tqdm

SAME_PICTURE = 2
SAME_SCENE = 10
BITS = 64


def is_whole(path: Path) -> bool:
    """Whether all of a picture is there; OpenCV fills what is missing with grey."""
    try:
        with Image.open(path) as picture:
            picture.load()
        return True
    except (OSError, SyntaxError, ValueError):
        return False


class Hashes:
    """The perceptual hashes of pictures, in each of their eight positions."""

    def __init__(self, pictures: np.ndarray, name: str):
        bar = tqdm(pictures, desc=f"hashing {name}", unit="picture", disable=None)
        self.views = np.stack([[_signs(view) for view in _views(rgb)] for rgb in bar])

    def distances(self, others: "Hashes", start: int, stop: int) -> np.ndarray:
        """Different bits of pictures start..stop, as they are, from `others`, however turned."""
        mine = self.views[start:stop, 0]
        return ((BITS - np.einsum("pb,ovb->pov", mine, others.views)) / 2).min(2)

    def nearest(self, others: "Hashes") -> np.ndarray:
        """Each picture's distance to the nearest of `others`."""
        rows = range(0, len(self.views), 256)
        return np.concatenate([self.distances(others, r, r + 256).min(1) for r in rows])

    def repeated(self, limit: int, left_out: np.ndarray | None = None) -> np.ndarray:
        """Which pictures repeat an earlier one that is kept. Those left out count for nothing."""
        gone = np.zeros(len(self.views), bool) if left_out is None else left_out.copy()
        drop = np.zeros(len(self.views), bool)
        for i in range(len(self.views)):
            if not gone[i] and i:
                near = self.distances(self, i, i + 1)[0, :i] <= limit
                drop[i] = gone[i] = (near & ~gone[:i]).any()
        return drop


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
