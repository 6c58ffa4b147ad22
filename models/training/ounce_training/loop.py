"""The training loop all models share: AdamW, warm-up and cosine, averaged weights, early
stopping, a checkpoint after every epoch, batches made on a second thread.

One process, or several under torchrun: each then makes its own part of every batch, and
DistributedDataParallel averages the gradients (gloo between CPUs, nccl between GPUs).
"""

import copy
import json
import math
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from .curves import draw_training


@dataclass
class Plan:
    """How long and how fast."""

    steps: int
    steps_per_epoch: int
    lr: float
    folder: Path
    minutes: float | None = None
    warmup: int = 200
    weight_decay: float = 0.05
    average: float = 0.999
    evaluate_every: int = 5
    patience: int = 6
    seed: int = 1
    progress: float = 0.0  # 0 to 1: where the schedule is; `train` moves it


class Peers:
    """The processes that train together: one, unless torchrun started more."""

    def __init__(self):
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
        if self.count > 1:
            # The others wait while the first one scores and saves.
            distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(hours=2))

    def share(self, batch: int) -> slice:
        """This process's part of a batch."""
        if batch % self.count:
            raise SystemExit(f"a batch of {batch} cannot be shared evenly by {self.count} processes")
        part = batch // self.count
        return slice(self.rank * part, (self.rank + 1) * part)

    def first_says(self, value: float) -> float:
        """What the first process says, so that all do the same."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return told.item()

    def leave(self, model: nn.Module) -> None:
        """Ends the group, if there is one, after making sure that all trained one model.

        It ends the process, too: one in twenty times a thread of torch's, still there when the
        interpreter goes, aborts a run whose work is done and saved.
        """
        if self.count == 1:
            return
        mine = torch.stack([p.detach().double().sum() for p in model.parameters()]).sum().reshape(1)
        all_of_them = [torch.empty_like(mine) for _ in range(self.count)]
        distributed.all_gather(all_of_them, mine)
        distributed.barrier()
        distributed.destroy_process_group()
        same = all(torch.equal(other, mine) for other in all_of_them)
        if self.rank == 0:
            print(f"{self.count} processes ended with {'the same' if same else 'DIFFERENT'} weights")
        sys.stdout.flush()
        os._exit(0 if same else 1)


class Average:
    """An exponential moving average of the model's weights."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves a little towards the model; faster at the beginning."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mine, new in zip(self.model.state_dict().values(), model.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)


class Lossy(nn.Module):
    """The model and its loss as one module, which is what DistributedDataParallel hooks into."""

    def __init__(self, model: nn.Module, loss_of: Callable):
        super().__init__()
        self.model, self.loss_of = model, loss_of

    def forward(self, *batch):
        return self.loss_of(self.model, *batch)


class Runner:
    """A function from a numpy batch to the model's numpy output."""

    def __init__(self, model: nn.Module):
        self.model, self.size = model, model.SIZE
        self.device = next(model.parameters()).device

    @torch.inference_mode()
    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return self.model(torch.from_numpy(batch).to(self.device)).cpu().numpy()


def optimiser(model: nn.Module, plan: Plan) -> torch.optim.Optimizer:
    """AdamW; weight decay on convolutions and dense layers only."""
    big = [p for p in model.parameters() if p.ndim > 1]
    small = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": big, "weight_decay": plan.weight_decay},
              {"params": small, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.lr)


def learning_rate(plan: Plan, step: int, progress: float) -> float:
    """Linear warm-up, then cosine down to 1 %."""
    warm = min(1.0, (step + 1) / plan.warmup)
    return plan.lr * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def ahead(make: Callable, start: int, stop: int, depth: int = 4):
    """make(start) ... make(stop - 1), made on a second thread before they are asked for."""
    ready: queue.Queue = queue.Queue(depth)

    def work():
        try:
            for step in range(start, stop):
                ready.put(make(step))
        except BaseException as error:  # handed to the consumer, which raises it
            ready.put(error)

    maker = threading.Thread(target=work, daemon=True)
    maker.start()
    for _ in range(start, stop):
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        yield item
    maker.join()


def as_tensor(pictures: list) -> torch.Tensor:
    """uint8 pictures to a float batch in 0..1, channels last in memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(255)


def save(state: dict, path: Path) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(model: nn.Module, plan: Plan, make_batch: Callable, loss_of: Callable,
          evaluate: Callable, peers: Peers, resume: bool = False) -> None:
    """Trains to the end of the plan, until the validation score has not risen for
    `plan.patience` evaluations, or until `plan.minutes` are used up: the schedule then runs
    faster, so that it always ends with a low learning rate.

    make_batch(step) -> tensors; loss_of(model, *tensors) -> (loss, parts);
    evaluate(averaged model) -> a dict whose "score" is what counts.
    Scores count against patience in the second half only: before the learning rate has fallen, a
    standstill says little. Leaves `last.pt` (to go on from), `best.pt` (to ship), `log.jsonl` and
    `training.png`.
    """
    first = peers.rank == 0
    model.to(peers.device, memory_format=torch.channels_last).train()
    lossy = Lossy(model, loss_of)
    if peers.count > 1:
        lossy = DistributedDataParallel(lossy, find_unused_parameters=False)
    optim, average = optimiser(model, plan), Average(model, plan.average)
    step, seconds, best, stale = 0, 0.0, -1.0, 0
    last_path, log = plan.folder / "last.pt", plan.folder / "log.jsonl"
    if resume:
        if not last_path.is_file():
            raise SystemExit(f"{last_path} is missing: there is nothing to go on from")
        state = torch.load(last_path, weights_only=True, map_location="cpu")
        if state["seed"] != plan.seed or state["steps_per_epoch"] != plan.steps_per_epoch:
            raise SystemExit(f"{last_path} is of seed {state['seed']} and {state['steps_per_epoch']} steps an epoch")
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        optim.load_state_dict(state["optimiser"])
        step, seconds, average.updates = state["step"], state["seconds"], state["step"]
        best = state["best"]
        if first:
            print(f"resumed at step {step}", flush=True)
            rows = [row for row in log.read_text().splitlines() if json.loads(row)["step"] <= step] if log.is_file() else []
            log.write_text("".join(f"{row}\n" for row in rows))
    elif first:
        plan.folder.mkdir(parents=True, exist_ok=True)
        for old in ("last.pt", "best.pt", "log.jsonl", "scores.json"):
            (plan.folder / old).unlink(missing_ok=True)
    bar = tqdm(total=plan.steps, initial=step, unit="step", disable=not (first and sys.stderr.isatty()))
    sums, seen, began = {}, 0, time.monotonic()
    for batch in ahead(make_batch, step, plan.steps):
        plan.progress = step / plan.steps
        if plan.minutes:
            used = seconds + time.monotonic() - began
            plan.progress = peers.first_says(min(1.0, max(plan.progress, used / (plan.minutes * 60))))
        lr = learning_rate(plan, step, plan.progress)
        for group in optim.param_groups:
            group["lr"] = lr
        loss, parts = lossy(*(part.to(peers.device, non_blocking=True) for part in batch))
        optim.zero_grad(set_to_none=True)
        loss.backward()
        # A loss that is no number ends the run before it overwrites a good checkpoint.
        nn.utils.clip_grad_norm_(model.parameters(), 10.0, error_if_nonfinite=True)
        optim.step()
        average.update(model)
        step, seen = step + 1, seen + 1
        bar.update()
        for name, value in {"loss": loss.item(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value
        done = step == plan.steps or plan.progress >= 1
        if step % plan.steps_per_epoch and not done:
            continue
        epoch = math.ceil(step / plan.steps_per_epoch)
        used = seconds + time.monotonic() - began
        row = {"epoch": epoch, "step": step, "seconds": round(used), "lr": lr}
        row |= {name: value / seen for name, value in sums.items()}
        if first and (done or epoch % plan.evaluate_every == 0):
            row |= evaluate(average.model)
            stale = 0 if row["score"] > best or plan.progress < 0.5 else stale + 1
            if row["score"] > best:
                best = row["score"]
                save({"average": average.model.state_dict(), "step": step, "score": best}, plan.folder / "best.pt")
        if first:
            bar.write(" ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
            sys.stdout.flush()
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            save({"model": model.state_dict(), "average": average.model.state_dict(),
                  "optimiser": optim.state_dict(), "step": step, "seconds": used,
                  "best": best, "seed": plan.seed, "steps_per_epoch": plan.steps_per_epoch}, last_path)
            if "score" in row:
                draw_training(log, plan.folder / "training.png")
        if peers.first_says(float(done or stale >= plan.patience)):
            break
        sums, seen = {}, 0
    bar.close()
    if first:
        why = "stopped early, the score no longer rose" if stale >= plan.patience else "the schedule has ended"
        print(f"best score {best:.4f}; {why}", flush=True)
    peers.leave(model)
