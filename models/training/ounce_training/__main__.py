"""The command line: one command a step."""

import argparse
from pathlib import Path

import cv2
import torch


def options() -> argparse.ArgumentParser:
    """The commands and their flags."""
    parser = argparse.ArgumentParser(prog="ounce_training", description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(dest="command", required=True)

    prepare = commands.add_parser("prepare", help="decode the data set once")
    prepare.add_argument("--data", type=Path, default=Path("../../../shared/datasets/people"))

    train = commands.add_parser("train", help="train a model from scratch")
    train.add_argument("model", choices=["presence", "detector"])
    train.add_argument("--epochs", type=int)
    train.add_argument("--lr", type=float)
    train.add_argument("--seed", type=int, default=1)
    train.add_argument("--minutes", type=float, help="end the schedule in this time")
    train.add_argument("--start", type=Path, help="presence: a detector to take the body from")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    evaluate = commands.add_parser("evaluate", help="measure the exported models")
    evaluate.add_argument("--models", type=Path, default=Path(".."))
    evaluate.add_argument("--other", type=Path, help="COCO-like folder, as an out-of-domain check")

    export = commands.add_parser("export", help="write the ONNX file and its manifest")
    export.add_argument("model", choices=["presence", "detector"])
    export.add_argument("--models", type=Path, default=Path(".."))
    return parser


def main() -> None:
    """Runs one command."""
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    if args.command == "prepare":
        from .data import prepare

        prepare(args.data, args.cache)
    elif args.command == "train":
        if args.model == "detector":
            from .detector import train_detector as run

            extra, epochs, lr = {}, args.epochs or 30, args.lr or 2e-3
        else:
            from .presence import train_presence as run

            extra, epochs, lr = {"start": args.start}, args.epochs or 8, args.lr or 1e-3
        out = args.runs / f"{args.model}.pt"
        run(args.cache, out, epochs, lr, args.seed, args.minutes, args.resume, **extra)
    elif args.command == "evaluate":
        from .evaluate import evaluate

        evaluate(args.cache, args.models, args.other)
    else:
        from .export import export

        export(args.model, args.cache, args.runs, args.models)


if __name__ == "__main__":
    main()
