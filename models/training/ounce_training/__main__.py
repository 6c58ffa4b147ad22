"""The command line: one command a step."""

import argparse
import json
from pathlib import Path

MODELS = ["detector", "presence", "classic"]


def options() -> argparse.ArgumentParser:
    """The commands and their flags."""
    parser = argparse.ArgumentParser(prog="ounce_training", description="Trains the models that ounce ships.")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="read the data set, drop duplicates and leaks, say what it did")
    prepare.add_argument("--data", type=Path, required=True, help="train/ and valid/, each with images/ and labels/")
    prepare.add_argument("--windows", type=int, default=4000, help="how many windows to score the classifier on")

    train = commands.add_parser("train", help="train a model; under torchrun on several devices")
    train.add_argument("model", choices=MODELS)
    train.add_argument("--epochs", type=int)
    train.add_argument("--steps", type=int, help="steps an epoch, instead of once through the data")
    train.add_argument("--lr", type=float)
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--minutes", type=float, help="end the schedule in this time")
    train.add_argument("--start", type=Path, help="presence: a detector's best.pt to take the body from")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    compress = commands.add_parser("compress", help="write fp32, fp16 and int8 variants of a trained model")
    compress.add_argument("model", choices=MODELS)
    compress.add_argument("--prune", type=float, help="also set this share of the large dense weights to zero")

    evaluate = commands.add_parser("evaluate", help="score the variants of a run, or of a model folder")
    evaluate.add_argument("model", choices=MODELS, nargs="?")
    evaluate.add_argument("--other", type=Path, help="detector: photos from elsewhere to score on as well (YOLO labels)")
    evaluate.add_argument("--folder", type=Path, help="a model folder to score instead of a run's")
    evaluate.add_argument("--data", type=Path, help="with --folder: labelled pictures to score on")
    evaluate.add_argument("--json", action="store_true", help="with --folder: print JSON")

    export = commands.add_parser("export", help="ship the variants that no other beats")
    export.add_argument("model", choices=MODELS[:2])
    export.add_argument("--models", type=Path, default=Path(__file__).resolve().parents[2])
    return parser


def main() -> None:
    """Runs one command."""
    args = options().parse_args()
    if args.command == "evaluate":
        return evaluate(args)
    if args.command == "export":
        from .export import export

        return export(args.model, args.runs / args.model, args.models)
    if args.command == "prepare":
        from .data import prepare

        return prepare(args.data, args.cache, args.windows)
    import cv2
    import torch

    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    run = args.runs / args.model
    if args.command == "compress":
        from . import nets
        from .compress import compress

        kinds = {"detector": nets.Detector, "presence": nets.Presence, "classic": nets.ClassicPresence}
        return compress(args.model, kinds[args.model](), args.cache, run, args.prune)
    if args.start and args.model != "presence":
        raise SystemExit("--start is for `train presence`")
    shared = (args.seed, args.minutes, args.resume, args.steps)
    if args.model == "detector":
        from .detector import train_detector

        train_detector(args.cache, run, args.epochs or 150, args.lr or 2e-3, *shared)
    else:
        from .presence import train_presence

        train_presence(args.cache, run, args.epochs or 20, args.lr or 1e-3, *shared,
                       start=args.start, classic=args.model == "classic")


def evaluate(args: argparse.Namespace) -> None:
    """Of a run: scores for `export`, and a chart. Of a folder: scores."""
    from . import evaluate as step

    if args.folder:
        if not args.data:
            raise SystemExit("--folder needs --data: the labelled pictures to score on")
        result = step.evaluate(args.folder, args.data, quiet=args.json)
        if args.json:
            print(json.dumps(result))
        return
    if not args.model or args.data or args.json:
        raise SystemExit("name a model, or a model's --folder with --data")
    if args.other and args.model != "detector":
        raise SystemExit("--other is for the detector")
    from .curves import draw_precision_recall
    from .data import load, valid_folder
    from .duplicates import SAME_SCENE

    apart, data = None, args.cache / "windows"
    if args.model == "detector":
        data = valid_folder(args.cache)
        apart = load(args.cache, "valid").apart > SAME_SCENE
    run = args.runs / args.model
    if not (run / "model").is_dir():
        raise SystemExit(f"{run / 'model'} is missing: run `compress {args.model}` first")
    result = step.evaluate(run / "model", data, apart, args.other)
    step.write(result, run / "scores.json")
    draw_precision_recall(result, run / "precision-recall.png")


if __name__ == "__main__":
    main()
