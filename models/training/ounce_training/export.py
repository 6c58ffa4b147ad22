"""Ships what is worth shipping: of the scored variants those that no other beats in everything."""

import json
from pathlib import Path

from . import folder as model_folder

FOLDERS = {"detector": "pedestrian", "presence": "pedestrian-presence"}
# What a variant is for, the default first: one int8, the exact one, and the one for GPUs.
ORDER = ("int8", "fp32", "fp16")


def quality(result: dict) -> tuple[float, ...]:
    """What counts, each the more the better."""
    return tuple(result[metric] for metric in ("ap50", "ap50_95", "accuracy", "f1") if metric in result)


def beaten(name: str, results: dict) -> str | None:
    """Another variant that is as small, as fast and as good, and better in one of these."""
    def facts(result: dict) -> tuple[float, ...]:
        return -result["bytes"], -result["ms"], *quality(result)

    mine = facts(results[name])
    for other, result in results.items():
        pairs = list(zip(facts(result), mine))
        if other != name and all(a >= b for a, b in pairs) and any(a > b for a, b in pairs):
            return other
    return None


def export(name: str, run: Path, models: Path) -> None:
    """Copies the variants that are left into `models/`, with what they score."""
    results = json.loads((run / "scores.json").read_text())
    left = []
    for variant in sorted(results, key=ORDER.index):
        other = beaten(variant, results)
        print(f"{variant}: " + (f"not shipped, {other} is as good in everything" if other else "shipped"))
        if other is None:
            left.append(variant)
    source = {v["name"]: v for v in model_folder.read_manifest(run / "model")["variant"]}
    packed = {v: (run / "model" / model_folder.VERSION / source[v]["file"]).read_bytes() for v in left}
    metrics = ("ap50", "ap50_95") if name == "detector" else ("accuracy", "f1")
    accuracy = {v: {m: results[v][m] for m in metrics} for v in left}
    head = model_folder.PRESENCE
    if name == "detector":
        head = model_folder.DETECTOR.format(min_score=results[left[0]]["min_score"])
    model_folder.write_folder(models / FOLDERS[name], head, packed, accuracy)
