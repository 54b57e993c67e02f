# SPDX-License-Identifier: Apache-2.0
"""`pretrain_backbone`: the weights of the scene backbone, from the simulator alone.

    rove run rove_learning pretrain_backbone --out runs/scene.safetensors

Pictures of all tasks from seeds of their own; the backbone's tokens, read by one linear layer per task, must tell where
the task's landmarks are and how far the work is (`World.landmarks`). Killed, the same command goes on where it was.
"""

from __future__ import annotations

import json
import math
import pickle
import sys
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rove_contract import files
from rove_learning.config import BackboneConfig
from rove_learning.data.augmentation import augment_images
from rove_learning.deployment.glimpses import GlimpseConfig, make_worker
from rove_learning.deployment.simulation import play_seeds
from rove_learning.models.scene import RANDOM, SceneBackbone
from rove_sim.tasks import task as tasks

SEED, SEED_STRIDE = 5_000_000, 100_000  # away from those of demonstrations, settings and evaluation
HELD_OUT = 0.05  # share of the glimpses whose pictures are only measured
SAVE_EVERY = 250  # steps


@dataclass(frozen=True)
class PretrainConfig:
    """What the backbone sees, and how long it learns."""

    out: Path  # weights; a report is written beside them
    tasks: tuple[str, ...] = tuple(task.name for task in tasks.TASKS)
    glimpses: int = 2500  # per task; a glimpse has about seven pictures
    steps: int = 4000
    batch: int = 48
    lr: float = 1e-3
    # of the smooth L1 loss, in deviations of what is told: small, so that errors of millimetres still count
    beta: float = 0.02
    image_gain: float = 0.1  # +- relative brightness
    seed: int = 0
    workers: int = 2
    threads: int = 2
    backbone: BackboneConfig = field(
        default_factory=lambda: BackboneConfig(
            kind="scene",
            cameras=("ego", "right_wrist"),
            image_size=192,
            channels=(16, 32, 64, 128),
            layers=2,
            path=RANDOM,
        )
    )


@dataclass
class Scenes:
    """Pictures (N, C, S, S, 3) of one task and what they show (N, D), in units of `scale` (D,) around `mean` (D,).
    points: how many of the D are coordinates. held_out: (N,) bool.
    """

    pictures: np.ndarray
    targets: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    points: int
    held_out: np.ndarray


def look(config: PretrainConfig, name: str) -> Scenes:
    """The scenes of one task; kept beside `out`, so that a run that was killed does not make them again."""
    cameras, size = config.backbone.cameras, config.backbone.image_size
    kept = config.out.parent / f".{config.out.stem}-{name}-{config.glimpses}-{size}-{'-'.join(cameras)}.npz"
    if not kept.is_file():
        begin = SEED + SEED_STRIDE * tasks.TASKS.index(tasks.get(name))
        source = GlimpseConfig(name, begin, size, cameras)
        seeds = range(begin, begin + config.glimpses)
        played = play_seeds(make_worker, source, seeds, config.workers)
        glimpses = [glimpse for glimpse in tqdm(played, total=len(seeds), desc=name, unit="glimpse") if glimpse]
        arrays: dict[str, Any] = {key: np.concatenate([glimpse[key] for glimpse in glimpses]) for key in glimpses[0]}
        arrays["glimpse"] = np.repeat(np.arange(len(glimpses)), [len(glimpse["pictures"]) for glimpse in glimpses])
        kept.parent.mkdir(parents=True, exist_ok=True)
        with files.replaced(kept, durable=False) as part, part.open("wb") as stream:
            np.savez(stream, **arrays)
    try:
        found = np.load(kept)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise ValueError(f"{kept} is damaged ({error}); remove it and start again") from error
    with found as arrays:
        points = arrays["points"].reshape(len(arrays["points"]), -1)
        values = np.concatenate([points, arrays["amounts"]], axis=1).astype(np.float32)
        scale = values.std(axis=0)
        # the coordinates of one task share their scale: a millimetre counts as much in each direction
        scale[: points.shape[1]] = np.sqrt(np.mean(np.square(scale[: points.shape[1]])))
        held_out = arrays["glimpse"] >= math.ceil(arrays["glimpse"].max() * (1.0 - HELD_OUT))
        return Scenes(arrays["pictures"], values, values.mean(axis=0), scale + 1e-3, points.shape[1], held_out)


class Reader(nn.Module):
    """The backbone and one linear layer per task over all its tokens; the layers are thrown away afterwards."""

    def __init__(self, config: PretrainConfig, scenes: dict[str, Scenes]):
        super().__init__()
        self.backbone = SceneBackbone(config.backbone)
        size = config.backbone.queries * config.backbone.width
        self.layers = nn.ModuleDict({name: nn.Linear(size, seen.targets.shape[1]) for name, seen in scenes.items()})

    def forward(self, name: str, pictures: np.ndarray) -> torch.Tensor:
        """(B, C, S, S, 3) uint8 -> (B, D), normalised."""
        texts = [tasks.get(name).instruction] * len(pictures)
        images = torch.from_numpy(pictures).reshape(len(pictures), *self.backbone.picture_shape)
        tokens = self.backbone(images, texts).tokens.flatten(1)
        with torch.autocast("cpu", enabled=False):
            return self.layers[name](tokens.float())


@torch.no_grad()
def measure(reader: Reader, name: str, seen: Scenes) -> dict:
    """On held-out pictures: median and 90th percentile of the distance of a landmark as seen from the palm, mm; the
    mean absolute error of the amounts, of which the first is the progress.
    """
    rows = np.flatnonzero(seen.held_out)
    out = torch.cat([reader(name, seen.pictures[part]) for part in np.array_split(rows, math.ceil(len(rows) / 64))])
    error = (out.numpy() * seen.scale + seen.mean) - seen.targets[rows]
    own = seen.points // (len(reader.backbone.config.cameras) + 1)  # as many for each camera, then from the palm
    palm = error[:, seen.points - own : seen.points].reshape(len(rows), -1, 3)
    distance = 1000.0 * np.linalg.norm(palm, axis=-1)
    median, tail = np.percentile(distance, (50, 90))
    absolute = np.abs(error[:, seen.points :])
    return {
        "pictures": len(rows),
        "landmark_mm_p50": round(float(median), 2),
        "landmark_mm_p90": round(float(tail), 2),
        "progress_error": round(float(absolute[:, 0].mean()), 4),
        "amount_error": round(float(absolute.mean()), 4),
    }


def pretrain(config: PretrainConfig) -> dict:
    """Write the weights; returns what `measure` says of each task."""
    if config.glimpses < 2 or not config.tasks:
        raise ValueError(f"{config.glimpses} glimpses of {len(config.tasks)} tasks, expected 2 or more of at least one")
    for name in config.tasks:
        tasks.get(name)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    scenes = {name: look(config, name) for name in config.tasks}
    reader = Reader(config, scenes)
    optimiser = torch.optim.AdamW(reader.parameters(), lr=config.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=config.steps, pct_start=0.05)
    # where the processor multiplies bfloat16 a step takes two thirds of the time; errors are measured in float32
    bf16 = torch.cpu.get_capabilities().get("avx512_bf16", False)
    rng, first = np.random.default_rng(config.seed), 0
    train = {name: np.flatnonzero(~seen.held_out) for name, seen in scenes.items()}
    if (fewest := min(map(len, train.values()))) < config.batch:
        raise ValueError(f"{fewest} pictures of a task are fewer than a batch of {config.batch}: ask for more glimpses")
    half_way = config.out.with_suffix(".part")
    chosen = {key: value for key, value in asdict(config).items() if key not in ("out", "workers", "threads")}
    settings = json.dumps(chosen, sort_keys=True)
    if half_way.is_file():
        try:
            saved = torch.load(half_way, weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            raise ValueError(f"{half_way} is damaged ({error}); remove it and start again") from error
        if saved["settings"] != settings:
            raise ValueError(f"{half_way} is of a run with other settings; remove it, or choose another --out")
        reader.load_state_dict(saved["reader"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        rng.bit_generator.state, first = saved["rng"], saved["step"]
    begin = time.monotonic()
    with tqdm(range(first, config.steps), initial=first, total=config.steps, desc="scene backbone", unit="step") as bar:
        for step in bar:
            name = config.tasks[step % len(config.tasks)]
            seen, rows = scenes[name], np.sort(rng.choice(train[name], config.batch, replace=False))
            gain = 1.0 + config.image_gain * rng.uniform(-1.0, 1.0, len(rows))
            wanted = torch.from_numpy((seen.targets[rows] - seen.mean) / seen.scale)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = reader(name, augment_images(seen.pictures[rows], gain))
            loss = nn.functional.smooth_l1_loss(out, wanted, beta=config.beta)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 20 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}")
            if step % SAVE_EVERY == SAVE_EVERY - 1:
                bar.write(json.dumps({name: measure(reader.eval(), name, seen) for name, seen in scenes.items()}))
                reader.train()
                state = {"reader": reader.state_dict(), "optimiser": optimiser.state_dict()}
                state |= {"schedule": schedule.state_dict(), "rng": rng.bit_generator.state, "step": step + 1}
                state["settings"] = settings
                with files.replaced(half_way, durable=False) as part:
                    torch.save(state, part)
    reader.eval()
    result = {name: measure(reader, name, seen) for name, seen in scenes.items()}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with files.replaced(config.out) as part:
        reader.backbone.save(part)
    result = {"settings": json.loads(settings), "held_out": result, "seconds": round(time.monotonic() - begin)}
    files.write(config.out.with_suffix(".json"), json.dumps(result, indent=2) + "\n")
    half_way.unlink(missing_ok=True)
    return result


def main() -> int:
    import tyro

    try:
        config = tyro.cli(PretrainConfig, description=__doc__, prog="rove run rove_learning pretrain_backbone")
        print(json.dumps(pretrain(config)))
    except (ValueError, OSError) as error:
        print(f"pretrain_backbone: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
