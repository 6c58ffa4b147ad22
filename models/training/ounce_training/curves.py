"""Pictures of a training and of a score, drawn to PNG."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402  (after the backend is chosen)


def draw_training(log: Path, out: Path) -> None:
    """Loss by epoch above, validation score and learning rate below."""
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    epochs = [row["epoch"] for row in rows]
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    for name in rows[0]:
        if name not in ("epoch", "step", "seconds", "lr", "score") and all(name in row for row in rows):
            above.plot(epochs, [row[name] for row in rows], label=name)
    above.set_ylabel("mean over the epoch's pictures")
    above.set_yscale("log")
    above.legend(frameon=False)
    scored = [row for row in rows if "score" in row]
    below.plot([r["epoch"] for r in scored], [r["score"] for r in scored], "o-", label="score on valid")
    below.set_ylabel("score on valid")
    below.set_xlabel("epoch")
    rate = below.twinx()
    rate.plot(epochs, [row["lr"] for row in rows], ":", color="grey")
    rate.set_ylabel("learning rate (dotted)")
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def draw_precision_recall(scores: dict, out: Path) -> None:
    """Precision over recall, a line a variant."""
    figure, axes = pyplot.subplots(figsize=(7, 6), layout="constrained")
    for name, result in scores.items():
        reached = [(i / 100, p) for i, p in enumerate(result["curve"]) if p > 0]
        quality = "AP50 {:.3f}".format(result["ap50"]) if "ap50" in result else "F1 {:.3f}".format(result["f1"])
        axes.plot([r for r, _ in reached], [p for _, p in reached], label=f"{name}: {quality}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    figure.savefig(out, dpi=110)
    pyplot.close(figure)
