# SPDX-License-Identifier: Apache-2.0
"""D^actor and D^critic of a plan (paper, App. G), opened when a step first asks for them, and their observations."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from rove_learning.config import BackboneConfig
from rove_learning.data.buffer import Buffer
from rove_learning.data.feature_cache import FeatureCache
from rove_learning.data.observations import Observations, PictureObservations, TokenObservations
from rove_learning.models.backbone import Backbone
from rove_learning.training import processes
from rove_learning.training.plan import Plan


class Buffers:
    """actor: robot episodes only. critic: the method's D^critic, with human videos (not RECAP, App. E)."""

    def __init__(self, plan: Plan):
        self._plan = plan

    @functools.cached_property
    def actor(self) -> Buffer:
        return self._open(self._plan.config.actor.backbone, human_videos=False)

    @functools.cached_property
    def critic(self) -> Buffer:
        return self._open(self._plan.config.critic.backbone, human_videos=self._plan.method.human_videos)

    def _open(self, backbone: BackboneConfig, human_videos: bool) -> Buffer:
        config, progress = self._plan.config, self._plan.progress and processes.main_process()
        with processes.main_first(config.device):
            return Buffer(
                list(self._plan.datasets),
                backbone.image_size,
                human_videos,
                progress,
                config.picture_cache,
                backbone.cameras,
            )


def observations(
    plan: Plan, buffer: Buffer, backbone: Backbone, *, conditions: Sequence[str] = (), in_memory: bool = False
) -> Observations:
    """Where a model on `backbone` gets its observations from: pictures where the backbone is trained, else its tokens.

    Tokens of a pretrained backbone are cached on the disk, and all processes compute what the cache lacks. conditions:
    the text conditions to cache. in_memory: tokens of a small frozen backbone may be kept in memory, without
    conditions. Where critic and actor have one backbone, they share one cache: every frame is computed once.
    """
    config = plan.config
    if config.actor.backbone == config.critic.backbone:
        conditions = config.actor.trained_conditions
    if any(p.requires_grad for p in backbone.parameters()):
        return PictureObservations(buffer, config.device)
    if backbone.fingerprint and config.feature_cache:
        options: dict = {"conditions": conditions, "progress": plan.progress}
        if group := processes.group(config.device):
            options |= {"share": (group.process_index, group.num_processes), "wait": group.wait_for_everyone}
        return FeatureCache(buffer, backbone, config.device, **options)
    if in_memory and not backbone.fingerprint:
        progress = plan.progress and processes.main_process()
        return TokenObservations(buffer, backbone, config.device, progress=progress)
    return PictureObservations(buffer, config.device)
