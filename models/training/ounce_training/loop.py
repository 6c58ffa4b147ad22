"""The training loop both models share: AdamW, warm-up and cosine, averaged
weights, a checkpoint after every epoch, batches made on a second thread."""

import copy
import math
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from torch import nn


@dataclass
class Plan:
    """How long and how fast."""

    steps: int
    steps_per_epoch: int
    lr: float
    out: Path
    minutes: float | None = None
    warmup: int = 200
    weight_decay: float = 0.02
    ema: float = 0.998
    evaluate_every: int = 5


class Average:
    """An exponential moving average of the model's weights."""

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    def update(self, model: nn.Module) -> None:
        """Moves a little towards the model; faster at the beginning."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for mine, new in zip(self.model.state_dict().values(), model.state_dict().values()):
                if mine.dtype.is_floating_point:
                    mine.lerp_(new, 1 - decay)
                else:
                    mine.copy_(new)


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

    threading.Thread(target=work, daemon=True).start()
    for _ in range(start, stop):
        item = ready.get()
        if isinstance(item, BaseException):
            raise item
        yield item


def as_tensor(pictures: list) -> torch.Tensor:
    """uint8 pictures to a float batch in 0..1, channels last in memory."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div_(255)


def save(state: dict, path: Path) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(model: nn.Module, plan: Plan, make_batch: Callable, loss_of: Callable,
          evaluate: Callable, resume: bool = False) -> None:
    """Trains to the end of the plan, or until `plan.minutes` are used up: the
    schedule then runs faster, so that it always ends with a low learning rate.

    make_batch(step) -> tensors; loss_of(model, *tensors) -> (loss, parts);
    evaluate(averaged model) -> text.
    """
    model.to(memory_format=torch.channels_last).train()
    optim, average = optimiser(model, plan), Average(model, plan.ema)
    step, seconds = 0, 0.0
    if resume and plan.out.is_file():
        state = torch.load(plan.out, weights_only=True)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        optim.load_state_dict(state["optimiser"])
        step, seconds, average.updates = state["step"], state["seconds"], state["step"]
        print(f"resumed at step {step}", flush=True)
    sums, seen, began = {}, 0, time.monotonic()
    for batch in ahead(make_batch, step, plan.steps):
        used = seconds + time.monotonic() - began
        progress = step / plan.steps
        if plan.minutes:
            progress = max(progress, used / (plan.minutes * 60))
        lr = learning_rate(plan, step, min(1.0, progress))
        for group in optim.param_groups:
            group["lr"] = lr
        loss, parts = loss_of(model, *batch)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optim.step()
        average.update(model)
        step, seen = step + 1, seen + 1
        for name, value in {"loss": loss.item(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value
        last = step == plan.steps or progress >= 1
        if step % plan.steps_per_epoch and not last:
            continue
        epoch = math.ceil(step / plan.steps_per_epoch)
        line = " ".join(f"{k} {v / seen:.3f}" for k, v in sums.items())
        used = seconds + time.monotonic() - began
        print(f"epoch {epoch} step {step}/{plan.steps} {used:.0f} s lr {lr:.5f} {line}", flush=True)
        save({"model": model.state_dict(), "average": average.model.state_dict(),
              "optimiser": optim.state_dict(), "step": step, "seconds": used}, plan.out)
        if last or epoch % plan.evaluate_every == 0:
            print("  " + evaluate(average.model), flush=True)
        if last:
            break
        sums, seen = {}, 0
