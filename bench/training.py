# SPDX-License-Identifier: Apache-2.0
"""What the feature cache saves: a training step on cached tokens against the same step with the backbone in the loop.

    python bench/training.py [--quick]

Actor (flow matching) and critic (OVE) are trained by the loop that `train` uses, on a made-up dataset. On a CPU: the
random Qwen3-VL and head of bench/guidance.py, about 70 M parameters in the proportions of Qwen3-VL-4B with a 16-layer
head of width 1024, float32. On a GPU the full-size architecture with random weights, bf16. The actor has the paper's
batch, on a GPU the critic too. The prefix has 100 or 300 tokens. Cached and uncached take turns; a round's time is the
median of its steps without the first, which sets up the optimizer; the ratio is the median over rounds. "limit": ratio
of the floating-point operations of the two steps, counted. "waits": share of the time in which a step waited for its
data: on a CPU all the time of drawing a batch, on a GPU what the step before does not hide.

Limit with Qwen3-VL-4B and a 16-layer head of width 1024: 9 at 100 tokens, 14 at 300. Target: the actor's step >= 8 x
faster. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import guidance
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from rove_learning.algorithm.advantage import Labels
from rove_learning.config import CONDITIONS, ActorConfig, CriticConfig, RegulariseConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.dataset import Dataset
from rove_learning.data.feature_cache import FeatureCache
from rove_learning.data.observations import PictureObservations
from rove_learning.models.actor import Actor, flow_matching_loss
from rove_learning.models.critic import Critic
from rove_learning.testing import synthetic_vlm
from rove_learning.testing.synthetic import episode_frames, make_plan, write_dataset
from rove_learning.training import phases
from rove_learning.training.train_actor import ActorData, set_statistics
from rove_learning.training.train_critic import train_critic


def actor_steps(buffer, actor, source, steps: int, work: Path, device: str) -> list[dict]:
    """History of `steps` steps of the actor."""
    labels = Labels(np.ones(len(buffer), dtype=bool), np.ones(len(buffer), dtype=bool), 0.0)
    data = ActorData(buffer, labels, actor, RegulariseConfig(), device, source)
    phase = phases.Phase(
        "actor",
        steps,
        1e-4,
        1e-4,
        {"online": actor},
        data.batch,
        lambda m, b: (flow_matching_loss(m, predict="clean", **b), {}),
    )
    return phases.optimise(phase, work, 0, device, progress=False)


def critic_steps(buffer, critic, source, steps: int, work: Path, device: str) -> list[dict]:
    """The same of the critic: OVE, two observations per sample."""
    config = replace(critic.config, steps=steps, lr=1e-4)
    plan, buffers = make_plan(buffer, work, phases=("critic_ove",), start_critic=critic, critic=config, device=device)
    return train_critic(plan, buffers, source).history["critic_ove"]


def measure(tokens: int, device: str, quick: bool, scratch: Path) -> list[dict]:
    """Rows of one prefix length."""
    torch.manual_seed(0)
    sizes = synthetic_vlm.QWEN_4B if device == "cuda" else guidance.QUICK if quick else guidance.MID
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model, tokenizer = synthetic_vlm.random_qwen3vl(sizes, dtype, device)
    actor, text = guidance.make_actor(tokens, device, model, tokenizer, quick)
    backbone = actor.backbone
    backbone.fingerprint = "bench"  # not a hash of gigabytes
    frames = 256 if device == "cuda" else 24
    root = write_dataset(scratch / str(tokens), [replace(episode_frames(i, frames // 2), task=text) for i in range(2)])
    buffer = Buffer([Dataset(root)], backbone.image_size, progress=False)
    batch = (
        {"actor": 16, "critic": 64}
        if device == "cuda"
        else {"actor": 4, "critic": 4}
        if quick
        else {"actor": 16, "critic": 8}
    )
    begin = time.perf_counter()
    cache = FeatureCache(buffer, backbone, device, conditions=CONDITIONS[:2], progress=False)
    filled = frames / (time.perf_counter() - begin)
    sources = {"cached": cache, "uncached": PictureObservations(buffer, device)}
    head = {"width": actor.config.width, "layers": actor.config.layers, "heads": actor.config.heads, "mlp_ratio": 4}
    actor = Actor(
        ActorConfig(backbone=backbone.config, noise_samples=1, batch=batch["actor"], **head), backbone=backbone
    ).to(device)
    set_statistics(actor, buffer)
    settings = CriticConfig(backbone=backbone.config, batch=batch["critic"], width=256 if device == "cuda" else 128)
    critic = Critic(settings, backbone).to(device)
    rounds, counts = (1, (3, 2)) if quick else (5, (50, 10)) if device == "cuda" else (3, (6, 2))
    rows = []
    models = (("actor", actor_steps, actor), ("critic", critic_steps, critic))
    for name, run, what in models[:1] if device == "cpu" and tokens > 100 else models:
        times: dict[str, list] = {key: [] for key in sources}
        waits: dict[str, list] = {key: [] for key in sources}
        memory, operations = {}, {}
        for turn in range(-1, rounds):  # turn -1 warms up
            for (key, source), steps in zip(sources.items(), counts):
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                work = scratch / "work" / f"{tokens}-{name}-{key}-{turn}"
                with FlopCounterMode(display=False) if turn < 0 else contextlib.nullcontext() as counter:
                    history = run(buffer, what, source, steps if turn >= 0 else 1, work, device)
                shutil.rmtree(work)
                if turn < 0:
                    operations[key] = counter.get_total_flops()
                else:
                    times[key].append(statistics.median(row["seconds"] for row in history[1:]))
                    waits[key].append(
                        sum(row["waited"] for row in history[1:]) / sum(row["seconds"] for row in history[1:])
                    )
                if device == "cuda":
                    memory[key] = torch.cuda.max_memory_allocated() / 2**30
        rows.append(
            {
                "model": name,
                "tokens": tokens,
                "batch": batch[name],
                "cached_ms": statistics.median(times["cached"]) * 1e3,
                "uncached_ms": statistics.median(times["uncached"]) * 1e3,
                "ratio": statistics.median(b / a for a, b in zip(times["cached"], times["uncached"])),
                "limit": operations["uncached"] / operations["cached"],
                "cached_samples_per_s": batch[name] / statistics.median(times["cached"]),
                "uncached_samples_per_s": batch[name] / statistics.median(times["uncached"]),
                "waited": {key: statistics.median(values) for key, values in waits.items()},
                "memory_gib": memory,
                "cache_frames_per_s": filled,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller models, one round, within 30 s")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
        torch.set_float32_matmul_precision("high")
    scratch = Path(tempfile.mkdtemp(prefix="rove_training_"))
    rows: list[dict] = []
    try:
        for tokens in (100,) if args.quick else (100, 300):
            rows += measure(tokens, device, args.quick, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    columns = (
        "",
        "tokens",
        "batch",
        "cached ms",
        "uncached ms",
        "ratio",
        "limit",
        "samples/s",
        "waits",
        "(uncached)",
        "GiB",
    )
    print("".join(f"{column:>12}" for column in columns))
    for row in rows:
        memory = f"{row['memory_gib']['cached']:.1f}" if row["memory_gib"] else ""
        cells = (
            row["model"],
            row["tokens"],
            row["batch"],
            f"{row['cached_ms']:.1f}",
            f"{row['uncached_ms']:.1f}",
            f"{row['ratio']:.1f}x",
            f"{row['limit']:.1f}x",
            f"{row['cached_samples_per_s']:.1f}",
            f"{row['waited']['cached']:.1%}",
            f"{row['waited']['uncached']:.1%}",
            memory,
        )
        print("".join(f"{cell:>12}" for cell in cells))
    print(f"filling the cache: {rows[0]['cache_frames_per_s']:.1f} frames/s, once")
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    print(json.dumps({"bench": "training", "quick": args.quick, "device": name, "rows": rows}))


if __name__ == "__main__":
    main()
