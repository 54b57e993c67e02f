# SPDX-License-Identifier: Apache-2.0
"""A loaded checkpoint that acts: picture, state and instruction -> action chunk and value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from rove_contract import images
from rove_description.card import RobotCard
from rove_description.robot import EGO
from rove_learning.inference.execution import Execution
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import guidance_conditions, with_branches
from rove_learning.models.pretrained import PretrainedBackbone

View = np.ndarray | Mapping[str, np.ndarray]


class Policy:
    """A loaded checkpoint: `act` for the action publisher, `value` for the online critic.

    guidance: default beta. names: (J,) joint names of the columns. robot: which it was trained for. hash: 12 hex digits
    of the weights. info: the rest of config.json. execution: how it computes; `execution.set_up(...)`, then
    `prepare(...)`, make it fast on a GPU.
    """

    def __init__(self, actor: Actor, critic: Critic | None, info: dict, digest: str, device: str = "cpu"):
        self.actor = actor.eval().requires_grad_(False).to(device)
        self.critic = None if critic is None else critic.eval().requires_grad_(False).to(device)
        self.device = device
        self.info = info
        self.hash = digest
        self.guidance = float(info["guidance"])
        self.robot = RobotCard.from_dict(info.get("robot", {}))
        self.names = self.robot.joints
        self.execution = Execution(self.actor, self.critic, self.shared)
        self._rollout_factor = 1.0 if critic is None else _rollout_factor(float(critic.scale), info)

    def beta(self, guidance: float | None) -> float:
        """`guidance`, or the checkpoint's own for None."""
        return self.guidance if guidance is None else float(guidance)

    def prepare(self, instruction: str, guidance: float | None = None) -> bool:
        """Compile and record what `execution.set_up` asked for, for chunks of this instruction. False: there was
        nothing to do.
        """
        if not self.execution.missing(instruction, self.beta(guidance)):
            return False
        self.execution.prepare(instruction, self.beta(guidance))
        return True

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of all cameras that actor and critic see, in their order."""
        models = [self.actor] if self.critic is None else [self.actor, self.critic]
        return tuple(dict.fromkeys(name for model in models for name in model.backbone.cameras))

    def _picture(self, seen: View, backbone) -> torch.Tensor:
        """Pictures of one moment on the device, with the resizing that the training cache does too."""
        given = seen if isinstance(seen, Mapping) else {EGO: seen}
        if missing := [name for name in backbone.cameras if name not in given]:
            raise ValueError(f"the policy needs the picture of {', '.join(missing)}, got {', '.join(given)}")
        side = backbone.image_size
        small = np.stack([images.resize(given[name], (side, side)) for name in backbone.cameras])
        return torch.from_numpy(small.reshape(1, *backbone.picture_shape)).to(self.device)

    def _pictures(self, seen: View, backbone, instruction: str, conditions=()) -> Pictures:
        return Pictures(self._picture(seen, backbone), [instruction], conditions)

    def act(
        self, image: View, q: np.ndarray, instruction: str, *, guidance: float | None = None, rng=None, known=None
    ) -> np.ndarray:
        """One action chunk.

        image: (H, W, 3) uint8 RGB of the main camera, or camera -> such a picture. q: (J,) rad, contract order.
        guidance: beta, default the checkpoint's. rng: numpy Generator of the initial noise; None starts from zero noise
        (deterministic). -> (chunk, J) float64 rad, absolute targets at 20 Hz, row i due (i + 1) / 20 s after the
        observation. known: actions (chunk, J) rad and weights (chunk,) of steps that are given, from `realtime.align`.
        Raises ValueError for a wrong shape or a state that is not finite.
        """
        return self._chunk(image, q, instruction, guidance, rng, known)[0]

    def _chunk(
        self, image, q, instruction, guidance, rng, known, value: bool = False
    ) -> tuple[np.ndarray, float | None]:
        """Arguments of `act`; value: V(o, l) too, where it is `shared`."""
        config, actor = self.actor.config, self.actor
        q = np.asarray(q, dtype=np.float64)
        if q.shape != (actor.joints,) or not np.all(np.isfinite(q)):
            raise ValueError(
                f"expected a finite state ({actor.joints},), got {q.shape}, {int(np.sum(~np.isfinite(q)))} not finite"
            )
        shape = (1, config.chunk, actor.joints)
        noise = np.zeros(shape) if rng is None else rng.standard_normal(shape)
        with self.execution.turn:
            beta = self.beta(guidance)
            observation = self._pictures(image, actor.backbone, instruction, guidance_conditions(config))
            observation = with_branches(observation, beta)
            state = (torch.from_numpy(q).float().to(self.device) - actor.state_mean) / actor.state_std
            if known is not None:
                actions, weight = (
                    torch.from_numpy(np.asarray(part, dtype=np.float32)).to(self.device) for part in known
                )
                known = ((actions - actor.action_mean) / actor.action_std)[None], weight[None, :, None]
            noise = torch.from_numpy(noise).float().to(self.device)
            chunk, seen = self.execution.chunk(observation, state[None], noise, beta, known, value)
            chunk = (chunk[0] * actor.action_std + actor.action_mean).cpu().numpy().astype(np.float64)
            return chunk, self._rollout_value(seen) if value and seen is not None else None

    def value(self, image: View, instruction: str) -> float | None:
        """V(o, l) in [-1, 0], -1 the worst of a rollout, or None without a critic. image: see `act`."""
        if self.critic is None:
            return None
        with self.execution.turn:
            return self._rollout_value(self.execution.value(self._pictures(image, self.critic.backbone, instruction)))

    def _rollout_value(self, value: torch.Tensor) -> float:
        """(1,) V(o, l) in the critic's scale -> [-1, 0], where -1 is the worst that a rollout alone comes to: its
        longest duration and one C_fail. The critic's own scale has room for a second C_fail, which only an
        intervention adds; with it the same rollout would look better the more C_fail weighs.
        """
        return max(-1.0, float(value[0]) * self._rollout_factor)

    @property
    def shared(self) -> bool:
        """The critic reads a layer of the actor's own pretrained backbone, which can then run once for both."""
        if self.critic is None or not isinstance(self.actor.backbone, PretrainedBackbone):
            return False
        a, b = self.actor.backbone, self.critic.backbone
        return a.model is getattr(b, "model", None) and replace(a.config, layer=None) == replace(b.config, layer=None)

    def act_and_value(
        self, image: View, q: np.ndarray, instruction: str, *, guidance: float | None = None, rng=None, known=None
    ) -> tuple[np.ndarray, float | None]:
        """`act` and `value` of one picture, in one pass of the backbone where it is `shared`."""
        if not self.shared:
            chunk = self.act(image, q, instruction, guidance=guidance, rng=rng, known=known)
            return chunk, self.value(image, instruction)
        return self._chunk(image, q, instruction, guidance, rng, known, True)


def _rollout_factor(scale: float, info: dict) -> float:
    """The critic's scale over that of a rollout alone, which has room for one C_fail; 1 where either is unknown."""
    settings = info
    for key in ("train", "reward"):
        settings = settings.get(key) if isinstance(settings, dict) else None
    c_fail = settings.get("c_fail") if isinstance(settings, dict) else None
    if not isinstance(c_fail, (int, float)) or not math.isfinite(scale) or scale <= abs(c_fail):
        return 1.0
    return scale / (scale - abs(c_fail))
