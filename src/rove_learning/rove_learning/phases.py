"""The resumable training loop: all randomness of a step comes from (seed, phase, step), so a resumed run repeats it exactly on the CPU."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Phase:
    """One optimisation. loss(step's rng) -> (scalar tensor, metrics); after_step runs behind the optimiser (EMA)."""

    name: str
    steps: int
    lr: float
    weight_decay: float
    models: dict[str, nn.Module]  # saved and restored; the trainable parameters of `models["online"]` are optimised
    loss: Callable[[np.random.Generator], tuple[torch.Tensor, dict[str, float]]]
    after_step: Callable[[], None] = lambda: None


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 3 %, then a cosine down to 5 % of the peak."""
    warm = max(1, round(0.03 * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def step_rng(seed: int, phase: str, step: int) -> np.random.Generator:
    """The generator of one step."""
    return np.random.default_rng([seed, zlib.crc32(phase.encode()), step])


def _save(path: Path, state: dict) -> None:
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def run(
    phase: Phase, work: Path, seed: int, save_every_s: float = 30.0, progress: bool = True, stop: Callable[[], bool] = lambda: False
) -> list[dict]:
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
            model.load_state_dict(state["models"][name])
        optimizer.load_state_dict(state["optimizer"])
        begin, history = state["step"], json.loads(state["history"])

    def save(step: int) -> None:
        models = {name: model.state_dict() for name, model in phase.models.items()}
        _save(file, {"step": step, "models": models, "optimizer": optimizer.state_dict(), "history": json.dumps(history)})

    saved = time.monotonic()
    online.train()
    bar = tqdm(range(begin, phase.steps), desc=phase.name, initial=begin, total=phase.steps, unit="step", disable=not progress)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, phase.steps, phase.lr)
        loss, metrics = phase.loss(step_rng(seed, phase.name, step))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"{phase.name}: the loss is {value} at step {step}; lower the learning rate ({phase.lr:g})")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
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
    if begin < phase.steps:
        save(phase.steps)
    online.eval()
    return history
