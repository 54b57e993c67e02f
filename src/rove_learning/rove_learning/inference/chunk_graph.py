# SPDX-License-Identifier: Apache-2.0
"""A chunk as a function of fixed buffers, which a GPU records as one CUDA graph: picture in, actions and value out, no
Python between.

What a graph may contain (docs.pytorch.org, "CUDA Graphs"): shapes that never change, no value read back, nothing copied
from the CPU, no random numbers drawn on the CPU, every tensor where it was when the graph was recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Backbone, Context, Pictures
from rove_learning.models.critic import Critic
from rove_learning.models.guidance import guidance_conditions, sample, with_branches

WARM_UP = 3  # passes before recording, in which libraries choose kernels and allocate their workspace
TOLERANCE = (
    0.05  # of the largest action or value, and 1: kernels chosen anew may sum in another order, 0.4 % each in bfloat16
)
RECORDING = threading.Lock()  # CUDA allows one recording in a process; nothing else should use the GPU meanwhile


@torch.no_grad()
def infer(
    actor: Actor,
    critic: Critic | None,
    observation: Pictures | Context,
    state,
    noise,
    beta: float,
    steps: int | None = None,
    known=None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`guidance.sample` and, with a critic that reads a layer of the actor's backbone, V(o, l) from the same pass.

    -> chunk (1, chunk, J) normalised, value (1,) or None.
    """
    if critic is None:
        return sample(actor, observation, state, noise, beta, steps, known), None
    layers = (actor.backbone.layer, critic.backbone.layer)
    context, below = actor.backbone.features(*observation, layers)  # type: ignore[misc]
    return sample(actor, context, state, noise, beta, steps, known), critic.value(below)


class RecordableStep:
    """step(**buffers) -> tensors, always from the same buffers. A call copies its inputs into them; one that is left
    out counts as zero.

    Before `record` a call runs `step` operation by operation, on any device; afterwards it replays the recorded graph.
    reads: what else the graph reads where it lies now, kept alive.
    """

    def __init__(self, step: Callable[..., tuple], buffers: dict[str, torch.Tensor], reads: object = None):
        self.buffers, self._step, self._reads = buffers, step, reads
        self._graph: torch.cuda.CUDAGraph | None = None
        self._out: tuple = ()

    @property
    def device(self) -> torch.device:
        return next(iter(self.buffers.values())).device

    @property
    def recorded(self) -> bool:
        return self._graph is not None

    @torch.no_grad()
    def eager(self) -> tuple:
        """The step on what is in the buffers, operation by operation."""
        return self._step(**self.buffers)

    def record(self) -> None:
        """Record the step and compare a replay with the step itself.

        Raises ValueError off a GPU, RuntimeError (torch's own, or where the two differ) when it cannot be recorded.
        """
        if self.device.type != "cuda":
            raise ValueError(f"CUDA graphs need a GPU, the model is on {self.device}")
        with torch.cuda.device(self.device):
            current, beside = torch.cuda.current_stream(), torch.cuda.Stream()
            beside.wait_stream(current)
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    self.eager()
            graph = torch.cuda.CUDAGraph()
            with RECORDING:
                try:  # thread_local: what other threads do on the GPU does not end the recording
                    with torch.cuda.graph(graph, stream=beside, capture_error_mode="thread_local"):
                        out = self.eager()
                finally:
                    torch.cuda.set_stream(current)  # torch.cuda.graph leaves its own in force when a recording fails
            current.wait_stream(beside)
            self._graph, self._out = graph, out
            self._compare()

    def _compare(self) -> None:
        """Other inputs than those recorded: a graph that has kept one of them is found here and not on the robot."""
        for buffer in self.buffers.values():
            buffer.random_(0, 256) if buffer.dtype == torch.uint8 else buffer.uniform_()
        expected = self.eager()
        self._graph.replay()
        for a, b in zip(self._out, expected):
            if a is None:
                continue
            difference = float((a - b).abs().max())
            if not difference <= TOLERANCE * (1.0 + float(b.abs().max())):  # also for a NaN
                self._graph = None
                raise RuntimeError(
                    f"the replayed graph differs from the operations it was recorded from by {difference:.2g}"
                )

    def __call__(self, **inputs: torch.Tensor | None) -> tuple:
        """Tensors in the shapes of `buffers` -> what `step` returns, in memory of its own. Raises ValueError for
        another shape.
        """
        for name, buffer in self.buffers.items():
            given = inputs.pop(name, None)
            if given is None:
                buffer.zero_()
            elif given.shape != buffer.shape:
                raise ValueError(f"expected {name} {tuple(buffer.shape)}, got {tuple(given.shape)}")
            else:
                buffer.copy_(given)
        if inputs:
            raise ValueError(f"expected {', '.join(self.buffers)}; got {', '.join(inputs)} too")
        if self._graph is None:
            out = self.eager()
        else:
            self._graph.replay()
            out = self._out
        return tuple(None if x is None else x.clone() for x in out)


def _pictures(backbone: Backbone, device) -> torch.Tensor:
    return torch.zeros(1, *backbone.picture_shape, dtype=torch.uint8, device=device)


def _prompt(backbone: Backbone, instruction: str, conditions, device) -> object:
    """The tokenised prompt that a graph reads, where the backbone has one."""
    return backbone.tree([instruction], conditions, device) if hasattr(backbone, "tree") else None


def chunk_step(
    actor: Actor, instruction: str, beta: float, critic: Critic | None = None, steps: int | None = None
) -> RecordableStep:
    """`infer` for one instruction and one beta.

    Buffers: images as one moment of `Pictures`; state (1, J) and noise (1, chunk, J) normalised; known (1, chunk, J)
    normalised and weight (1, chunk, 1), the given steps of real-time chunking (`realtime.inpaint`): with weight zero,
    which is what leaving both out means, no step is given, so one graph serves with and without them. The weights of
    actor and critic must stay where they are.
    """
    device, shape = actor.state_mean.device, (1, actor.config.chunk, actor.joints)
    conditions = with_branches(Pictures(None, [instruction], guidance_conditions(actor.config)), beta).conditions
    buffers = {"images": _pictures(actor.backbone, device), "state": torch.zeros(1, actor.joints, device=device)}
    buffers |= {name: torch.zeros(shape, device=device) for name in ("noise", "known")}
    buffers["weight"] = torch.zeros(1, actor.config.chunk, 1, device=device)

    def step(images, state, noise, known, weight):
        return infer(
            actor, critic, Pictures(images, [instruction], conditions), state, noise, beta, steps, (known, weight)
        )

    return RecordableStep(step, buffers, _prompt(actor.backbone, instruction, conditions, device))


def value_step(critic: Critic, instruction: str) -> RecordableStep:
    """V(o, l) of one instruction. Buffer: images as one moment of `Pictures`."""
    device = critic.head.query.device

    def step(images):
        return (critic.value(Pictures(images, [instruction])),)

    return RecordableStep(
        step, {"images": _pictures(critic.backbone, device)}, _prompt(critic.backbone, instruction, (), device)
    )
