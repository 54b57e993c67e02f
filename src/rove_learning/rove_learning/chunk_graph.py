"""A guided chunk as one CUDA graph: picture in, action chunk out, without a Python step or a wait between the kernels."""

from __future__ import annotations

import torch

from rove_learning.actor import Actor, sample
from rove_learning.backbone import Pictures
from rove_learning.config import NEGATIVE, POSITIVE


class ChunkGraph:
    """`actor.sample` recorded for one instruction and one beta; shapes and settings are fixed when it is made.

    Another instruction or beta needs another graph (recording takes a few passes). The actor must keep its weights where they are; its
    head may be bfloat16. Raises ValueError for an actor that is not on a GPU.
    """

    def __init__(self, actor: Actor, instruction: str, beta: float, steps: int | None = None):
        device = actor.state_mean.device
        if device.type != "cuda":
            raise ValueError(f"CUDA graphs need a GPU, the actor is on {device}")
        size, chunk = actor.backbone.image_size, actor.config.chunk
        self.images = torch.zeros(1, size, size, 3, dtype=torch.uint8, device=device)
        self.state = torch.zeros(1, actor.joints, device=device)
        self.noise = torch.zeros(1, chunk, actor.joints, device=device)
        observation = Pictures(self.images, [instruction], ([NEGATIVE], [POSITIVE]))
        self._actor = actor
        # The graph reads the tokenised prompt where it lies now.
        self._tree = actor.backbone.tree(*observation[1:], device) if hasattr(actor.backbone, "tree") else None
        beside = torch.cuda.Stream(device)
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):  # libraries choose kernels and allocate their workspace on the first passes
            for _ in range(3):
                sample(actor, observation, self.state, self.noise, beta, steps)
        torch.cuda.current_stream(device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._out = sample(actor, observation, self.state, self.noise, beta, steps)

    def __call__(self, images: torch.Tensor, state: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """images: (1, S, S, 3) uint8. state: (1, J) normalised. noise: (1, chunk, J). -> (1, chunk, J) normalised."""
        self.images.copy_(images)
        self.state.copy_(state)
        self.noise.copy_(noise)
        self._graph.replay()
        return self._out.clone()
