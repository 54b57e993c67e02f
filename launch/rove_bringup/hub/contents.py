# SPDX-License-Identifier: Apache-2.0
"""What a folder holds, a dataset or a checkpoint, as its card tells it. Nothing is loaded that the folder says is
damaged.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_contract.modes import Outcome, Stage
from rove_recorder.dataset import corrections, lerobot_format
from rove_recorder.dataset.reader import LeRobotReader

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
DATASET, CHECKPOINT = "dataset", "checkpoint"
# What belongs to each, as glob patterns below its folder. Scratch files, caches and a run's training state stay here.
FILES = {
    DATASET: ["meta/*", "data/*.parquet", "videos/*.mp4"],
    CHECKPOINT: ["config.json", "actor.safetensors", "critic.safetensors", "history.json", "evaluation.json"],
}


class HubError(ValueError):
    """Something cannot be given to the Hub or had from it; the message says what, and what to do."""


@dataclass(frozen=True)
class Contents:
    """A folder's kind and facts (name -> text, for people). robot: its name, "" where unknown. tasks: in words.
    operators: names of people that the data hold. backbones: hub ids of the pretrained models that it needs.
    """

    kind: str
    robot: str
    tasks: tuple[str, ...]
    facts: dict[str, str]
    operators: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()


def read_contents(folder: Path) -> Contents:
    """Raises HubError for a folder that holds neither or a damaged checkpoint, DatasetError or CorrectionError for a
    damaged dataset.
    """
    if (folder / lerobot_format.INFO).is_file():
        return read_dataset(folder)
    if (folder / "config.json").is_file():
        return read_checkpoint(folder)
    raise HubError(
        f"{folder} is neither a dataset (with {lerobot_format.INFO}) nor a checkpoint (with config.json); give the "
        f"folder of one"
    )


def read_dataset(root: Path) -> Contents:
    """A dataset, with the corrections applied that stand beside it."""
    reader = LeRobotReader(root)
    rows = reader.episodes()
    fixes = corrections.fixes(root, rows)
    fixed = [row | fixes[row["episode_index"]] for row in rows]
    frames = sum(row["length"] for row in rows)
    outcomes = Counter(Outcome(row["outcome"]) for row in fixed if not row["excluded"])
    sizes = lerobot_format.stored_sizes(reader.features)
    facts = {
        "robot": reader.robot.words or "not known",
        "cameras": ", ".join(f"{name} ({h} × {w})" for name, (h, w) in sizes.items()) or "none",
        "episodes": str(len(rows)),
        "frames": f"{frames} at {reader.fps:g} Hz, {frames / reader.fps / 3600:.2f} h",
        "outcomes": _count({outcome.name.lower(): n for outcome, n in sorted(outcomes.items())}),
        "stages": _stages(reader, rows, fixes),
        "interventions": str(sum(row["takeover"] >= 0 for row in rows)),
        "excluded by a person": str(sum(bool(row["excluded"]) for row in fixed)),
        "corrected by a person": str(sum(map(bool, fixes.values()))),
    }
    tasks = tuple(dict.fromkeys(task for row in rows for task in row.get("tasks", ())))
    people = tuple(sorted({row["operator"] for row in rows if row.get("operator")}))
    return Contents(DATASET, reader.robot.name, tasks, facts, people)


def _count(numbers: dict[str, int]) -> str:
    return ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in numbers.items()) or "none"


def _stages(reader: LeRobotReader, rows: list[dict], fixes: dict[int, dict]) -> str:
    """Share of the frames in each stage."""
    if "stage" not in reader.features:
        return "not known"
    stage = reader.labels(reader.frames(["stage"]), "stage")
    parts = []
    for row in rows:
        part = stage[row["dataset_from_index"] : row["dataset_to_index"]]
        fix = fixes[row["episode_index"]]
        parts.append(corrections.restage(part, int(fix["t_r"])) if "t_r" in fix else part)
    values, counts = np.unique(np.concatenate(parts) if parts else stage[:0], return_counts=True)
    share = {Stage(value).name.lower(): n / counts.sum() for value, n in zip(values, counts)}
    return ", ".join(f"{name.replace('_', ' ')} {100 * part:.0f} %" for name, part in share.items()) or "none"


def read_checkpoint(path: Path) -> Contents:
    """A checkpoint. Its weights are compared with what its config.json says of them, and not loaded."""
    from rove_learning.inference import checkpoint

    try:
        info = checkpoint.read_info(path)
        checkpoint.check_hashes(path)
    except checkpoint.CheckpointError as error:
        raise HubError(str(error)) from error
    models = {name: info[name] for name in ("actor", "critic") if info.get(name)}
    backbones = {name: values["backbone"] for name, values in models.items()}
    facts = {
        "robot": _robot(info),
        "cameras": ", ".join(info["actor"]["backbone"].get("cameras") or ["ego"]),
        "actor": f"{info['actor']['chunk']} steps per chunk, guidance {info['guidance']:g}",
        "critic": "with" if "critic" in models else "without",
        "backbones": ", ".join(f"{name}: {_backbone(values)}" for name, values in backbones.items()),
        "success": _success(path),
        "weights": info["sha256"]["actor"][:12],
    }
    needed = tuple(
        sorted({values["path"] for values in backbones.values() if HUB_ID.fullmatch(values.get("path", ""))})
    )
    tasks = tuple(str(text) for text in info.get("instructions") or ())
    return Contents(CHECKPOINT, str((info.get("robot") or {}).get("name") or ""), tasks, facts, backbones=needed)


def _robot(info: dict) -> str:
    from rove_description.card import RobotCard

    return RobotCard.from_dict(info.get("robot") or {}).words or f"not known ({info['joint_count']} joints)"


def _backbone(values: dict) -> str:
    where = values.get("path") or ""
    where = where if HUB_ID.fullmatch(where) else Path(where).name  # no paths of this computer
    return f"{values.get('kind')} {where}".strip() + (f" at {values['revision']}" if values.get("revision") else "")


def _success(path: Path) -> str:
    """What `evaluate` wrote beside the checkpoint."""
    file = path / "evaluation.json"
    if not file.is_file():
        return "not evaluated (`evaluate --out evaluation.json` in this folder)"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        low, high = found["wilson95"]
        return (
            f"{found['successes']} of {found['episodes']} episodes, "
            f"{100 * found['success_rate']:.0f} % (95 %: {100 * low:.0f} to {100 * high:.0f} %), "
            f"{found['config']['task'].replace('_', ' ')} from {found['config']['start_stage']}, simulated"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HubError(f"{file} is not what `evaluate` writes ({error!r}); evaluate again or remove it") from error
