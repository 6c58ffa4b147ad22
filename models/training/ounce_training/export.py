"""Ships what is worth shipping: of the scored variants those that no other beats in everything."""

import json
from pathlib import Path

from . import folder as model_folder

FOLDERS = {"detector": "pedestrian", "presence": "pedestrian-presence"}
# What a variant is for, the default first: the fast one, the exact one, and the one for GPUs.
ORDER = ("int8", "fp32", "fp16")
# More than this costs int8 its place as the default: then it wants quantisation-aware training.
MOST_LOST = 0.005
# fp16 is for GPUs: a CPU's time says nothing about it.
NOT_TIMED = "fp16"


def quality(result: dict) -> tuple[float, ...]:
    """What counts, each the more the better: here and, where that was scored, elsewhere."""
    metrics = ("ap50", "ap50_95") if "ap50" in result else ("accuracy", "f1")
    return tuple(r[m] for r in (result, result.get("other")) if r for m in metrics)


def beaten(name: str, results: dict) -> str | None:
    """Another variant that is as small, as fast and as good, and better in one of these. Scores count
    to three decimals, as they are shown, and times to a twentieth."""
    def as_good(other: dict, mine: dict) -> bool:
        scores = zip(quality(other), quality(mine))
        return (other["bytes"] <= mine["bytes"] and other["ms"] <= mine["ms"] * 1.05
                and all(round(a, 3) >= round(b, 3) for a, b in scores))

    mine = results[name]
    if name == NOT_TIMED:
        return None
    return next((o for o, r in results.items() if o != name and as_good(r, mine) and not as_good(mine, r)), None)


def order(results: dict) -> list[str]:
    """The variants that may be shipped, the default first."""
    lost = max(b - a for a, b in zip(quality(results["int8"]), quality(results["fp32"])))
    print(f"int8 loses {lost * 100:.2f} points against fp32")
    fast = lost <= MOST_LOST
    if not fast:
        print("that is more than half a point: fp32 is the default, and int8 wants quantisation-aware training")
    return [v for v in (ORDER if fast else ("fp32", "int8", "fp16")) if v in results]


def export(name: str, run: Path, models: Path) -> None:
    """Copies the variants that are left into `models/`, with what they score."""
    if not (run / "scores.json").is_file():
        raise SystemExit(f"{run / 'scores.json'} is missing: run `evaluate {name}` first")
    if not models.is_dir():
        raise SystemExit(f"{models} is no folder of models: name it with --models")
    results, left = json.loads((run / "scores.json").read_text()), []
    for variant in order(results):
        other = beaten(variant, results)
        print(f"{variant}: " + (f"not shipped, {other} is as good in everything" if other else "shipped"))
        if other is None:
            left.append(variant)
    source = {v["name"]: v for v in model_folder.read_manifest(run / "model")["variant"]}
    if any(source[v]["sha256"] != results[v]["sha256"] for v in left):
        raise SystemExit("the scores are of other files: run `evaluate` once more")
    packed = {v: (run / "model" / model_folder.VERSION / source[v]["file"]).read_bytes() for v in left}
    metrics = ("ap50", "ap50_95") if name == "detector" else ("accuracy", "f1")
    accuracy = {v: {m: results[v][m] for m in metrics} for v in left}
    head = model_folder.PRESENCE
    if name == "detector":
        head = model_folder.DETECTOR.format(min_score=f"{results[left[0]]['min_score']:.2f} # the best F1 on the validation photos")
    model_folder.write_folder(models / FOLDERS[name], head, packed, accuracy)
