# SPDX-License-Identifier: Apache-2.0
"""Tasks of the simulator: a name for files and parameters, an instruction for the policy, and the stages an episode can
start from.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """name: identifier. instruction: text given to the policy.

    start_stages: task progress at which an episode may begin (paper, sec. 3.1).
    """

    name: str
    instruction: str
    start_stages: tuple[str, ...]


ERASE_WHITEBOARD = Task("erase_whiteboard", "erase the whiteboard", ("start", "grasped", "half_erased"))

TASKS = (ERASE_WHITEBOARD,)


def get(name: str) -> Task:
    """Task by name. Raises ValueError naming the known ones."""
    for task in TASKS:
        if task.name == name:
            return task
    raise ValueError(f"unknown task {name!r}; known: {', '.join(task.name for task in TASKS)}")
