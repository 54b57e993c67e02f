# SPDX-License-Identifier: Apache-2.0
"""The small files that the study leaves, one per task, training seed and arm, and what they say together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_contract import files
from rove_learning.report.statistics import Comparison, compare_paired, wilson


@dataclass(frozen=True)
class Result:
    """success: (n,) bool per episode, the same episodes for every arm of a task; content: of the file."""

    arm: str
    title: str
    task: str
    seed: int
    success: tuple[bool, ...]
    content: dict


def save(file: Path, *, success: Sequence[bool], seconds: Sequence[float], **content) -> None:
    """Write one result. success: per episode. seconds: robot time of the successes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    low, high = wilson(sum(success), len(success))
    values = {
        **content,
        "episodes": len(success),
        "success_rate": sum(success) / max(1, len(success)),
        "wilson95": [round(low, 4), round(high, 4)],
        "median_seconds": float(np.median(seconds)) if len(seconds) else None,
        "success": "".join("1" if one else "0" for one in success),
    }
    files.write(file, json.dumps(values, indent=1) + "\n")


def load(folder: Path) -> list[Result]:
    """All results below a folder. Raises ValueError naming a file that is none."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            success = tuple(digit == "1" for digit in content["success"])
            found.append(
                Result(content["arm"], content["title"], content["task"], int(content["seed"]), success, content)
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no result of the study: {error!r}") from error
    return found


def joined(results: Sequence[Result], task: str, arm: str) -> list[bool]:
    """Successes of an arm over its training seeds, in the order of seed and episode."""
    chosen = sorted((r for r in results if (r.task, r.arm) == (task, arm)), key=lambda r: r.seed)
    return [one for result in chosen for one in result.success]


def paired(results: Sequence[Result], task: str, before: str, after: str) -> Comparison | None:
    """Two arms on the episodes and training seeds that both have; None where they share nothing."""
    both = [
        (a, b)
        for r in results
        for s in results
        if (r.task, r.arm, s.task, s.arm) == (task, before, task, after) and r.seed == s.seed
        for a, b in zip(r.success, s.success)
    ]
    return compare_paired(*zip(*both)) if both else None
