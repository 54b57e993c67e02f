# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as policies that are ready: loaded, recorded or compiled where a GPU can, and warmed up. No ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from rove_description.robot import Robot
from rove_policy.reload import is_address

if TYPE_CHECKING:
    from rove_policy.remote.policies import RemoteLoader


class AnyLoader:
    """Folders, and policy servers by their address. local, remote: make the loader of each kind when one is needed."""

    def __init__(self, local: Callable[[], Loader], remote: Callable[[], RemoteLoader]):
        self._make: dict[bool, Callable[[], Loader | RemoteLoader]] = {False: local, True: remote}
        self._made: dict[bool, Loader | RemoteLoader] = {}

    def load(self, path: str):
        """The policy, ready for its first rollout, and the time (s) that a chunk took. Raises ValueError, OSError."""
        return self._of(path).load(path)

    def device(self, path: str) -> str:
        """Where a policy of this path computes."""
        return self._of(path).device

    def prepare(self, policy, instruction: str) -> None:
        """Record the chunk of an instruction, where a policy of this machine can."""
        local = self._made.get(False)
        if isinstance(local, Loader):
            local.prepare(policy, instruction)

    def _of(self, path: str) -> Loader | RemoteLoader:
        kind = is_address(path)
        if kind not in self._made:
            self._made[kind] = self._make[kind]()
        return self._made[kind]


class Loader:
    """What all checkpoints of a node have in common.

    robot: what a checkpoint must belong to. words: policy -> the instruction in force. guidance: beta, None: the
    checkpoint's. device: "cpu", "cuda" or "auto". backbones: see `checkpoint.load`. graphs, precision, compile: see
    `Execution.set_up`; graphs are recorded on a GPU only. warn: told once what cannot be had.
    """

    def __init__(
        self,
        robot: Robot,
        words: Callable[[object], str],
        guidance: float | None,
        device: str,
        backbones: dict[str, str],
        warn: Callable[[str], None],
        *,
        graphs: bool,
        precision: str,
        compile: bool,
    ):
        import torch

        self.device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(
                f"device is {device!r}, but torch {torch.__version__} finds no GPU; use device:=cpu or a torch for CUDA"
            )
        if precision not in ("auto", "bfloat16", "float32"):
            raise ValueError(f"precision is {precision!r}, expected auto, bfloat16 or float32")
        self.robot, self.words, self.guidance, self.backbones = robot, words, guidance, backbones
        self._warn, self._warned = warn, ""
        self._fast = {
            "graphs": graphs and self.device.startswith("cuda"),
            "precision": precision,
            "compile": "inductor" if compile else "",
        }

    def load(self, path: str):
        """The policy of a checkpoint, ready for its first rollout, and the time (s) that a chunk took. Raises
        ValueError.
        """
        from rove_learning.inference import checkpoint
        from rove_learning.inference.execution import INSTRUCTIONS

        policy = checkpoint.load(path, self.device, self.backbones)
        if refusal := policy.robot.refusal(self.robot.card, f"the checkpoint {path}"):
            raise ValueError(refusal)
        if unknown := [name for name in policy.cameras if name not in self.robot.cameras]:
            known = ", ".join(self.robot.cameras) or "none"
            raise ValueError(
                f"{path} sees the camera {', '.join(unknown)}, which the description of {self.robot.name} does not "
                f"have; its cameras: {known}"
            )
        policy.execution.set_up(**self._fast)  # type: ignore[arg-type]
        instructions = dict.fromkeys(
            [*list(policy.info.get("instructions", ()))[: INSTRUCTIONS - 1], self.words(policy)]
        )
        for instruction in instructions:
            self.prepare(policy, instruction)
        seen = dict.fromkeys(policy.cameras, np.zeros((192, 192, 3), dtype=np.uint8))
        for _ in range(2):
            begin = time.perf_counter()
            chunk, _ = policy.act_and_value(seen, self.robot.home, self.words(policy), guidance=self.guidance)
            latency = time.perf_counter() - begin
        if not np.isfinite(chunk).all():
            raise ValueError(f"{path} predicts actions that are not finite")
        return policy, latency

    def prepare(self, policy, instruction: str) -> None:
        """Record the chunk of an instruction, if that has not been tried; what cannot be had is said once."""
        if policy.prepare(instruction, self.guidance) and policy.execution.note not in ("", self._warned):
            self._warned = policy.execution.note
            self._warn(self._warned)
