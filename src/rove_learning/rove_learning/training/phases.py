# SPDX-License-Identifier: Apache-2.0
"""The resumable training loop, on one process or several.

All randomness of a step comes from (seed, phase, step) and is drawn for the whole global batch, of which each process
takes its rows: a resumed run repeats a step exactly (CPU), and several processes compute what one process with the same
global batch computes.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import functools
import json
import math
import pickle
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from tqdm import tqdm

from rove_contract.files import replaced
from rove_learning.models.backbone import load_own_state, own_state
from rove_learning.training import processes, sharding
from rove_learning.training.batches import BatchPart, prefetch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
HELD_OUT_BATCHES = 8  # of one evaluation on held-out episodes


@dataclass(frozen=True)
class Phase:
    """One optimisation. batch(part) draws the data, without the model; loss(model, batch) -> (scalar tensor, metrics),
    the mean over the part; after_step runs behind the optimiser. Off the CPU the next batch is drawn in a thread while
    the step before it runs.

    loss and after_step find the models in `models`: while weights are sharded, others than the ones put there stand in
    it."""

    name: str
    steps: int
    lr: float
    weight_decay: float
    models: dict[str, nn.Module]  # saved and restored; the trainable parameters of `models["online"]` are optimised
    batch: Callable[[BatchPart], Any]
    loss: Callable[[nn.Module, Any], tuple[torch.Tensor, dict[str, float]]]
    after_step: Callable[[], None] = lambda: None
    accumulate: int = 1  # parts per process and step
    # draws as `batch` does from episodes that do not train: the loss on them, "held_out", and what `judge` says of the
    # model enter the history every `evaluate_every` steps and at the end; with `patience` the phase ends early when
    # that loss has not fallen for so many evaluations
    held_out: Callable[[BatchPart], Any] | None = None
    judge: Callable[[nn.Module], dict[str, float]] = lambda model: {}
    patience: int = 0
    evaluate_every: int = 0


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
def keep_memory() -> None:
    """Let glibc keep what is freed instead of giving it back and having every step's tensors mapped and zeroed anew,
    page by page.
    """
    with contextlib.suppress(AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)
        set_option(
            M_MMAP_THRESHOLD, 2**25
        )  # the most it takes; by default blocks of 128 kB and more can be mapped each time


def _save(path: Path, state: dict) -> None:
    with replaced(path) as part:
        torch.save(state, part)


def _saved(file: Path) -> dict | None:
    """What an earlier process saved of a phase; None where there is nothing, or nothing whole."""
    if not file.is_file():
        return None
    try:
        state = torch.load(file, weights_only=True, map_location="cpu")
        missing = {"step", "models", "optimizer", "history"} - state.keys()
        json.loads(state["history"])
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        missing = {str(error)[:200]}
    if missing:
        print(f"note: {file} is damaged ({', '.join(missing)}); its phase is computed anew", file=sys.stderr)
        return None
    return state


def optimise(
    phase: Phase,
    work: Path,
    seed: int,
    device: str = "cpu",
    save_every_s: float = 30.0,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
    follow: Callable[[str, int, dict, float], None] = lambda phase, step, row, lr: None,
) -> list[dict]:
    """Train until phase.steps, continuing from `work`/<name>.pt where it exists. Returns the metrics of every step,
    from the first on: loss, grad_norm, those of phase.loss, "seconds" it took and "waited", the seconds of them in
    which it waited for its data. follow: told of every step by the main process: phase, step, its metrics, learning
    rate.

    Raises KeyboardInterrupt after saving when `stop()` turns true (tests), FloatingPointError when the loss is not
    finite.
    """
    if device == "cpu":
        keep_memory()
    work.mkdir(parents=True, exist_ok=True)
    file = work / f"{phase.name}.pt"
    history: list[dict] = []
    begin = 0
    state = _saved(file)
    if state is not None:
        for name, model in phase.models.items():
            load_own_state(model, state["models"][name])
        begin, history = state["step"], json.loads(state["history"])
    if begin < phase.steps:
        accelerator = processes.accelerator(device)
        with contextlib.ExitStack() as stack:
            plugin = sharding.requested_plugin(accelerator)
            if plugin is not None:
                stack.enter_context(sharding.sharded(phase.models, accelerator, plugin))
            _train(
                phase,
                file,
                seed,
                begin,
                history,
                state and state["optimizer"],
                accelerator,
                save_every_s,
                progress,
                stop,
                follow,
            )
        accelerator.wait_for_everyone()
        accelerator.free_memory()  # it would keep every phase's model alive
        # accelerate left its autocast on the model. A copy made now would have it too, and would not where a resume
        # skips this phase.
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            phase.models["online"].__dict__.pop(name, None)
    phase.models["online"].eval()
    return history


@torch.no_grad()
def _evaluate(phase: Phase, seed: int, model: nn.Module) -> dict[str, float]:
    """Mean loss on the same batches of held-out frames at every evaluation, and what the phase's judge says."""
    training = model.training
    model.eval()
    draws = [(seed, zlib.crc32(b"held out"), i) for i in range(HELD_OUT_BATCHES)]
    losses = [phase.loss(model, phase.held_out(BatchPart(draw)))[0] for draw in draws]
    judged = phase.judge(model)
    model.train(training)
    return {"held_out": float(torch.stack(losses).mean()), **judged}


def _stagnates(history: list[dict], patience: int) -> bool:
    """The loss on held-out episodes was lowest more than `patience` evaluations ago."""
    losses = [row["held_out"] for row in history if "held_out" in row]
    return len(losses) - 1 - int(np.argmin(losses)) >= patience


def _train(
    phase, file, seed, begin, history, optimizer_state, accelerator, save_every_s, progress, stop, follow
) -> None:
    """The steps from `begin` on, appended to `history`; the models may be sharded."""
    online = phase.models["online"]
    sharded = isinstance(online, FSDPModule)
    trainable = [p for p in online.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trainable, lr=phase.lr, weight_decay=phase.weight_decay, betas=(0.9, 0.98), fused=True
    )
    if optimizer_state is not None:
        sharding.load_optimizer(optimizer, optimizer_state)
    model, stepper = (online, optimizer) if sharded else accelerator.prepare(online, optimizer)
    parts_per_step = phase.accumulate * accelerator.num_processes

    def save(step: int) -> None:
        if not (sharded or accelerator.is_main_process):  # the parts are gathered by all
            return
        models = sharding.gather({name: own_state(model) for name, model in phase.models.items()})
        optimised = sharding.gather(optimizer.state_dict())
        if accelerator.is_main_process:
            _save(file, {"step": step, "models": models, "optimizer": optimised, "history": json.dumps(history)})

    def parts():
        for step in range(begin, phase.steps):
            for part in range(phase.accumulate):
                yield BatchPart(step_seed(step), accelerator.process_index * phase.accumulate + part, parts_per_step)

    def step_seed(step: int) -> tuple[int, ...]:
        return (seed, zlib.crc32(phase.name.encode()), step)

    batches = prefetch(phase.batch, parts(), ahead=accelerator.device.type != "cpu")
    waited, started = 0.0, time.perf_counter()
    saved, ended = time.monotonic(), started
    model.train()
    bar = tqdm(
        range(begin, phase.steps),
        desc=phase.name,
        initial=begin,
        total=phase.steps,
        unit="step",
        disable=not (progress and accelerator.is_main_process),
    )
    for step in bar:
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate(step, phase.steps, phase.lr)
        stepper.zero_grad()
        total = torch.zeros(2, device=accelerator.device)  # loss; processes that want to save
        total[1] = time.monotonic() - saved > save_every_s
        metrics: dict[str, float] = {}
        waiting = waited
        for part in range(phase.accumulate):
            batch, wait = next(batches)
            waited += wait
            last = part == phase.accumulate - 1
            if sharded:
                model.set_requires_gradient_sync(last)
            with contextlib.nullcontext() if last or sharded else accelerator.no_sync(model):
                loss, metrics = phase.loss(model, batch)
                accelerator.backward(loss / phase.accumulate)
            total[0] += loss.detach() / phase.accumulate
        total = accelerator.reduce(total, "mean")
        norm = accelerator.clip_grad_norm_(trainable, 1.0)
        stepper.step()
        phase.after_step()
        value, save_now = total.tolist()  # only now: a GPU has the whole step in its queue
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{phase.name}: the loss is {value} at step {step}; lower the learning rate ({phase.lr:g})"
            )
        norm = float(sharding.gather(norm))
        begun, ended = ended, time.perf_counter()
        history.append(
            {"loss": value, "grad_norm": norm, **metrics, "seconds": ended - begun, "waited": waited - waiting}
        )
        if step % 20 == 0:
            bar.set_postfix(loss=f"{value:.4f}", data=f"{waited / (time.perf_counter() - started):.0%}")
        evaluate = (step + 1) % max(1, phase.evaluate_every) == 0 or step + 1 == phase.steps
        if phase.held_out is not None and evaluate:
            history[-1] |= _evaluate(phase, seed, online)
        if accelerator.is_main_process:
            follow(phase.name, step, history[-1], learning_rate(step, phase.steps, phase.lr))
        if phase.patience and "held_out" in history[-1] and _stagnates(history, phase.patience):
            break
        if stop():
            batches.close()
            save(step + 1)
            raise KeyboardInterrupt(f"stopped {phase.name} at step {step + 1}")
        if save_now:
            save(step + 1)
            saved, ended = time.monotonic(), time.perf_counter()
    batches.close()
    save(phase.steps)
