# SPDX-License-Identifier: Apache-2.0
"""How a policy computes on its device: precision, compilation, and CUDA graphs where they can be had."""

from __future__ import annotations

import contextlib
from typing import Literal

import torch
from torch import nn

from rove_learning.inference import chunk_graph
from rove_learning.models.actor import Actor
from rove_learning.models.backbone import Pictures
from rove_learning.models.critic import Critic

Precision = Literal["auto", "bfloat16", "float32"]
INSTRUCTIONS = 8  # kept prepared; a graph holds what a chunk computes in between, tens of MB at 300 tokens


def cause(error: BaseException) -> str:
    """First line of the error that began it: a recording that fails ends in another error, which says nothing of the
    reason.
    """
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class Execution:
    """Chunks and values of one actor and critic. Until `set_up`, and always on a CPU: operation by operation, in the
    precision as loaded.

    shared: the critic reads a layer of the actor's backbone. note: what was asked for and could not be had, in words,
    or "". turn: to be held by whoever computes, so that nothing else runs on the GPU while a graph is recorded.
    """

    def __init__(self, actor: Actor, critic: Critic | None, shared: bool):
        self.actor, self.critic = actor, critic
        self._shared_critic = critic if shared else None  # its value comes from the pass of a chunk
        self._notes: list[str] = []
        self.turn = chunk_graph.RECORDING if actor.state_mean.device.type == "cuda" else contextlib.nullcontext()
        self._backend = ""
        self._compiled: list[nn.Module] = []
        self._recordable: set[str] = set()  # of "chunk" and "value"
        self._steps: dict[tuple, chunk_graph.RecordableStep | None] = {}  # None: what `prepare` could not make faster

    def set_up(self, *, graphs: bool = True, precision: Precision = "auto", compile: str = "") -> None:
        """graphs: record CUDA graphs. precision: of the action head's matrices; "auto": bfloat16 on a GPU that has it,
        with a pretrained backbone, whose own is `backbone.dtype`. compile: backend of torch.compile for the layers
        ("inductor"), "": none; the first pass then takes minutes. The value head and the action head's last layer stay
        float32: a step is about 1e-3 of a value's range."""
        native = self.actor.state_mean.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        if precision == "bfloat16" or (precision == "auto" and native and self.actor.backbone.fingerprint):
            self.actor.head.bfloat16().out.float()
        self._recordable = {"chunk", "value"} if graphs else set()
        self._backend = compile

    def __str__(self) -> str:
        recorded = any(key[0] == "chunk" and static and static.recorded for key, static in self._steps.items())
        dtype = str(self.actor.head.position.dtype).removeprefix("torch.")
        compiled = ", layers compiled" if self._compiled else ""
        return f"{'one CUDA graph per chunk' if recorded else 'operation by operation'}, head in {dtype}{compiled}"

    @property
    def note(self) -> str:
        return "; ".join(self._notes)

    # ---- recording

    def _missing(self, instruction: str, beta: float) -> list[tuple]:
        keys = [("chunk", instruction, beta)] + ([("value", instruction)] if self.critic is not None else [])
        return [key for key in keys if key not in self._steps and (self._backend or key[0] in self._recordable)]

    def missing(self, instruction: str, beta: float) -> bool:
        """Whether `prepare` has something to do for this instruction and beta."""
        return bool(self._missing(instruction, beta))

    def prepare(self, instruction: str, beta: float) -> None:
        """Compile and record what `set_up` asked for. What cannot be had is said in `note`, and is computed without it.

        Raises what the pass itself raises, e.g. ValueError for a text that is too long.
        """
        for key in self._missing(instruction, beta):
            self._steps[key] = None
            if key[0] == "chunk":
                static = chunk_graph.chunk_step(self.actor, instruction, beta, self._shared_critic)
            else:
                static = chunk_graph.value_step(self.critic, instruction)
            if self._backend:
                self._compile(static)
            if key[0] in self._recordable:
                self._record(key[0], static)
            if not static.recorded:
                static.eager()  # what is wrong with the model itself is raised here
            if static.recorded or self._backend:
                self._steps[key] = static
        for key in list(self._steps)[: max(0, len(self._steps) - 2 * INSTRUCTIONS)]:  # a chunk and a value of each
            del self._steps[key]

    def _compile(self, static: chunk_graph.RecordableStep) -> None:
        """Layer by layer: equal layers share their code, which takes a minute where the whole model would take many."""
        try:
            if not self._compiled:
                models = [model for model in (self.actor, self.critic) if model is not None]
                stacks = [part for model in models for part in model.modules() if isinstance(part, nn.ModuleList)]
                self._compiled = list(dict.fromkeys(layer for stack in stacks for layer in stack))
                for layer in self._compiled:
                    layer.__dict__.pop("forward", None)  # another policy on the same backbone compiled it
                    layer.forward = torch.compile(layer.forward, backend=self._backend)
            static.eager()
        except Exception as error:  # no compiler, an operation it does not know: the layers work without
            for layer in self._compiled:
                layer.__dict__.pop("forward", None)
            self._compiled, self._backend = [], ""
            self._notes.append(f"torch.compile failed, the layers run as they are: {cause(error)}")

    def _record(self, kind: str, static: chunk_graph.RecordableStep) -> None:
        try:
            static.record()
        # an old driver, an operation that cannot be recorded, no memory: the operations themselves still work
        except Exception as error:
            self._recordable -= (
                {"chunk", "value"} if kind == "chunk" else {kind}
            )  # a value is not worth another failure
            self._notes.append(
                f"no CUDA graph of a {kind} could be recorded, so it runs operation by operation, slower: "
                f"{cause(error)}"
            )

    # ---- running

    def chunk(self, observation: Pictures, state, noise, beta: float, known=None, value: bool = False):
        """-> chunk (1, chunk, J) normalised, and V(o, l) (1,) where `value` asks for it and one pass gives both, else
        None.
        """
        static = self._steps.get(("chunk", observation.texts[0], beta))
        if static is None:
            return chunk_graph.infer(
                self.actor, self._shared_critic if value else None, observation, state, noise, beta, known=known
            )
        actions, weight = known or (None, None)
        return static(images=observation.images, state=state, noise=noise, known=actions, weight=weight)

    def value(self, observation: Pictures) -> torch.Tensor:
        """V(o, l) (1,)."""
        static = self._steps.get(("value", observation.texts[0]))
        return self.critic.value(observation) if static is None else static(images=observation.images)[0]
