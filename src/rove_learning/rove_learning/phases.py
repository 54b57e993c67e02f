"""The resumable training loop, on one process or several.

All randomness of a step comes from (seed, phase, step) and is drawn for the whole global batch, of which each process takes its rows:
a resumed run repeats a step exactly (CPU), and several processes compute what one process with the same global batch computes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rove_learning.backbone import load_own_state, own_state


@dataclass(frozen=True)
class Share:
    """The part `index` of `count` equal parts of one step's global batch. key: of the step's randomness, the same in every part."""

    key: tuple[int, ...]
    index: int = 0
    count: int = 1

    def rng(self) -> np.random.Generator:
        """The step's generator, to draw for the whole global batch."""
        return np.random.default_rng(self.key)

    def rows(self, batch: int) -> slice:
        """This part's rows of the global batch of count x batch."""
        return slice(self.index * batch, (self.index + 1) * batch)

    def normal(self, rows: slice, shape: tuple[int, ...]) -> np.ndarray:
        """(rows, *shape) float32 normals with one generator per row: large draws are made only where they are needed."""
        seeds = np.random.SeedSequence(self.key).generate_state(2, np.uint64)
        bits = (np.random.Philox(key=seeds, counter=[0, 0, row, 0]) for row in range(rows.start, rows.stop))
        return np.stack([np.random.Generator(b).standard_normal(shape, dtype=np.float32) for b in bits])


@dataclass(frozen=True)
class Phase:
    """One optimisation. loss(model, share) -> (scalar tensor, metrics), the mean over the share; after_step runs behind the optimiser."""

    name: str
    steps: int
    lr: float
    weight_decay: float
    models: dict[str, nn.Module]  # saved and restored; the trainable parameters of `models["online"]` are optimised
    loss: Callable[[nn.Module, Share], tuple[torch.Tensor, dict[str, float]]]
    after_step: Callable[[], None] = lambda: None
    accumulate: int = 1  # shares per process and step


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 3 %, then a cosine down to 5 % of the peak."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy for averaging, without gradients; a frozen backbone is shared, not copied."""
    backbone = getattr(model, "backbone", None)
    shared = backbone is not None and not any(p.requires_grad for p in backbone.parameters())
    twin = copy.deepcopy(model, {id(backbone): backbone} if shared else {})
    return twin.requires_grad_(False).eval()


@functools.cache
def accelerator(device: str = "cpu"):
    """The process' accelerate.Accelerator: `accelerate launch` or torchrun decide how many processes there are."""
    from accelerate import Accelerator

    return Accelerator(cpu=device == "cpu")


def main_process() -> bool:
    """False in all but the first of several processes. Needs no accelerate: both launchers set RANK."""
    return int(os.environ.get("RANK", "0")) == 0


def _save(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def run(
    phase: Phase, work: Path, seed: int, device: str = "cpu", save_every_s: float = 30.0, progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> list[dict]:  # fmt: skip
    """Train until phase.steps, continuing from `work`/<name>.pt where it exists. Returns the metrics of every step, from the first on.

    Raises KeyboardInterrupt after saving when `stop()` turns true (tests), FloatingPointError when the loss is not finite.
    """
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"{phase.name}.pt"
    online = phase.models["online"]
    trainable = [p for p in online.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=phase.lr, weight_decay=phase.weight_decay, betas=(0.9, 0.98), fused=True)
    history: list[dict] = []
    begin = 0
    if file.is_file():
        state = torch.load(file, weights_only=True)
        for name, model in phase.models.items():
            load_own_state(model, state["models"][name])
        optimizer.load_state_dict(state["optimizer"])
        begin, history = state["step"], json.loads(state["history"])
        if begin >= phase.steps:
            online.eval()
            return history
    processes = accelerator(device)
    model, stepper = processes.prepare(online, optimizer)
    shares = phase.accumulate * processes.num_processes

    def save(step: int) -> None:
        if processes.is_main_process:
            models = {name: own_state(model) for name, model in phase.models.items()}
            _save(file, {"step": step, "models": models, "optimizer": optimizer.state_dict(), "history": json.dumps(history)})

    saved = time.monotonic()
    model.train()
    bar = tqdm(range(begin, phase.steps), desc=phase.name, initial=begin, total=phase.steps, unit="step",
               disable=not (progress and processes.is_main_process))  # fmt: skip
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, phase.steps, phase.lr)
        key = (seed, zlib.crc32(phase.name.encode()), step)
        stepper.zero_grad()
        total = torch.zeros((), device=processes.device)
        metrics: dict[str, float] = {}
        for part in range(phase.accumulate):
            share = Share(key, processes.process_index * phase.accumulate + part, shares)
            with contextlib.nullcontext() if part == phase.accumulate - 1 else processes.no_sync(model):
                loss, metrics = phase.loss(model, share)
                processes.backward(loss / phase.accumulate)
            total += loss.detach() / phase.accumulate
        value = float(processes.reduce(total, "mean"))
        if not math.isfinite(value):
            raise FloatingPointError(f"{phase.name}: the loss is {value} at step {step}; lower the learning rate ({phase.lr:g})")
        norm = processes.clip_grad_norm_(trainable, 1.0)
        stepper.step()
        phase.after_step()
        history.append({"loss": value, "grad_norm": float(norm), **metrics})
        if step % 20 == 0:
            bar.set_postfix(loss=f"{value:.4f}")
        if stop():
            save(step + 1)
            raise KeyboardInterrupt(f"stopped {phase.name} at step {step + 1}")
        if time.monotonic() - saved > save_every_s:
            save(step + 1)
            saved = time.monotonic()
    save(phase.steps)
    processes.wait_for_everyone()
    model.eval()
    processes.free_memory()  # it would keep every phase's model alive
    return history
