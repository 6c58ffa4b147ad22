"""Makes a tiny data set: figures of a head and a body on random ground, with YOLO text labels.

Training holds half a file, a picture without labels, a bad label line, a mirrored valid picture, a
copy, and a picture of another size.
"""

import sys
from pathlib import Path

import cv2
import numpy as np


def picture(rng: np.random.Generator, side: int = 320) -> tuple[np.ndarray, list[str]]:
    """Coarse noise, and one to three figures on it."""
    ground = rng.integers(0, 255, (int(rng.integers(3, 9)),) * 2 + (3,), np.uint8)
    image = cv2.resize(ground, (side, side), interpolation=cv2.INTER_CUBIC)
    lines = []
    for _ in range(rng.integers(1, 4)):
        h = int(rng.uniform(0.25, 0.7) * side)
        w = int(h * rng.uniform(0.3, 0.45))
        x, y = int(rng.integers(0, side - w)), int(rng.integers(0, side - h))
        ink = tuple(int(v) for v in rng.integers(0, 90, 3))
        cv2.rectangle(image, (x, y + h // 4), (x + w, y + h), ink, -1)
        cv2.circle(image, (x + w // 2, y + h // 8), h // 8, ink, -1)
        lines.append(f"0 {(x + w / 2) / side:.5f} {(y + h / 2) / side:.5f} {w / side:.5f} {h / side:.5f}")
    return image, lines


def main(folder: Path) -> None:
    """40 pictures to train on, 8 to score on."""
    rng = np.random.default_rng(3)
    for split in ("train", "valid"):
        for part in ("images", "labels"):
            (folder / split / part).mkdir(parents=True)

    def put(split: str, name: str, image: np.ndarray, lines: list[str]) -> None:
        cv2.imwrite(str(folder / split / "images" / f"{name}.jpg"), image)
        (folder / split / "labels" / f"{name}.txt").write_text("\n".join(lines))

    for i in range(8):
        image, lines = picture(rng)
        put("valid", f"v{i}", image, lines)
        if i == 0:
            put("train", "leak", cv2.flip(image, 1), lines)
    for i in range(36):
        image, lines = picture(rng, 320 if i else 400)
        put("train", f"t{i:02}", image, lines if i != 1 else [*lines, "not a label"])
        if i == 2:
            put("train", "t02copy", cv2.convertScaleAbs(image, alpha=0.9), lines)
    half = cv2.imencode(".jpg", picture(rng)[0])[1].tobytes()
    (folder / "train/images/broken.jpg").write_bytes(half[: len(half) // 2])
    (folder / "train/labels/broken.txt").write_text("0 0.5 0.5 0.2 0.2")
    cv2.imwrite(str(folder / "train/images/unlabelled.jpg"), picture(rng)[0])


main(Path(sys.argv[1]))
