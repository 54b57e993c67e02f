# SPDX-License-Identifier: Apache-2.0
"""FSDP2 (ZeRO stage 3): weights, gradients, averages and optimizer state of the models that are trained, divided over
the processes.

`accelerate launch` with configs/accelerate_fsdp2.yaml asks for it. accelerate shards one model, on GPUs only, and
trains with DDP on a CPU without saying so; here an online model and its average are sharded alike, so torch's
`fully_shard` is applied by us, on CPUs too. Weights stay in their own precision (autocast computes in bfloat16, as
under DDP), and frozen backbones stay whole.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from rove_learning.models.actor import DiTBlock
from rove_learning.models.blocks import TransformerLayer


def requested_plugin(processes) -> Any | None:
    """The FSDP2 plugin of a launch on several processes that asks for one, else None. processes: an
    accelerate.Accelerator.

    Raises ValueError for what is not supported, naming the setting.
    """
    from accelerate.utils import DistributedType as Kind
    from accelerate.utils import FullyShardedDataParallelPlugin

    kind = processes.distributed_type
    if kind in (Kind.DEEPSPEED, Kind.MEGATRON_LM):
        raise ValueError(
            f"accelerate was launched with {kind.value}; training here shards by FSDP2 "
            f"(configs/accelerate_fsdp2.yaml) or is "
            "data parallel (configs/accelerate_ddp.yaml)"
        )
    on_cpu = kind == Kind.MULTI_CPU and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if kind != Kind.FSDP and not on_cpu:
        return None
    plugin = FullyShardedDataParallelPlugin() if on_cpu else processes.state.fsdp_plugin
    refused = {
        "fsdp_version 1": plugin.fsdp_version != 2,
        "fsdp_activation_checkpointing": plugin.activation_checkpointing,
        "fsdp_offload_params": type(plugin.cpu_offload).__name__ == "CPUOffloadPolicy",
        "fsdp_ignored_modules": plugin.ignored_modules is not None,
        "parallelism_config": getattr(processes, "parallelism_config", None) is not None,
        "mixed_precision fp16": processes.mixed_precision not in ("no", "bf16"),
    }
    for setting in (name for name, found in refused.items() if found):
        raise ValueError(
            f"accelerate was launched for FSDP with {setting}, which is not supported here; see "
            f"configs/accelerate_fsdp2.yaml"
        )
    return plugin


def units(model: nn.Module) -> Iterator[nn.Module]:
    """Modules whose weights are gathered together, inner ones first; what is left belongs to the model itself."""
    for module in model.modules():
        if isinstance(module, DiTBlock):
            yield module.cross_attention.key_value  # called before the block, once for all noise samples
            yield module
        elif isinstance(module, TransformerLayer):
            yield module


def _shard(model: nn.Module, kept: set[nn.Parameter], mesh, plugin, compiled: dict[str, Any] | None) -> None:
    from torch.distributed.fsdp import fully_shard

    options = {"mesh": mesh, "ignored_params": kept}
    for module in units(model):
        if not any(p in kept for p in module.parameters()):
            if compiled is not None:
                module.forward = torch.compile(module.forward, **compiled)
            fully_shard(module, reshard_after_forward=plugin.reshard_after_forward, **options)
    # Torch leaves a root gathered after a forward pass, an average without a backward pass would stay so; `after_step`
    # needs its parts.
    fully_shard(model, reshard_after_forward=True, **options)
    if mesh.device_type == "cpu":
        for module in model.modules():
            if hasattr(module, "set_force_sum_reduction_for_comms"):
                module.set_force_sum_reduction_for_comms(True)  # gloo has no mean


@contextlib.contextmanager
def sharded(models: dict[str, nn.Module], processes, plugin) -> Iterator[None]:
    """Put FSDP2 twins in the place of `models`. At the end the models are back, with the twins' weights.

    models: "online" and its averages. Weights that "online" does not train are shared, whole. Meanwhile the models' own
    wait on the CPU.
    """
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(processes.device.type, (processes.num_processes,))
    dynamo = processes.state.dynamo_plugin
    compiled = None if dynamo.backend.value == "NO" else dynamo.to_kwargs()
    trained = {name for name, p in models["online"].named_parameters() if p.requires_grad}
    originals = dict(models)
    homes = {}
    for name, model in originals.items():
        parameters = dict(model.named_parameters())
        kept = {p for key, p in parameters.items() if key not in trained}
        backbone = getattr(model, "backbone", None)
        whole_backbone = backbone is not None and kept.issuperset(backbone.parameters())
        twin = copy.deepcopy(model, {id(part): part for part in (*kept, *([backbone] if whole_backbone else []))})
        for key, p in twin.named_parameters():
            if key in trained:
                p.data = p.data.contiguous()  # convolutions are not (channels last), and FSDP2 takes nothing else
        _shard(twin, kept, mesh, plugin, compiled)
        for p in (p for key, p in parameters.items() if key in trained):
            homes[p] = p.device
            p.data = p.data.cpu()
        models[name] = twin
    online = models["online"]
    if processes.is_main_process:
        parts = [p for p in online.parameters() if isinstance(p, DTensor)]
        held, total = (sum(p.numel() for p in ps) for ps in ([p.to_local() for p in parts], parts))
        print(f"FSDP2: this process holds {held:,} of {total:,} trained weights", file=sys.stderr)
    if processes.native_amp:
        online.forward = _autocast(processes, online.forward)
    finished = False
    try:
        yield
        finished = True
    finally:
        twins = dict(models)
        models.update(originals)
        for name, model in originals.items():
            sharded_parameters = dict(twins[name].named_parameters())
            for key, p in model.named_parameters():
                if key in trained:  # a process that failed cannot gather with the others
                    weight = gather(sharded_parameters[key]) if finished else p.data
                    p.data = torch.empty_like(p.data, device=homes[p]).copy_(weight)  # in the layout it had


def _autocast(processes, forward):
    def inside(*args, **options):
        with processes.autocast():
            return forward(*args, **options)

    return inside


def gather(value: Any) -> Any:
    """A tensor, or a structure of them, with every DTensor gathered. All processes must call it; each gets
    everything.
    """
    if isinstance(value, DTensor):
        return value.detach().full_tensor()
    if isinstance(value, Mapping):
        return type(value)((key, gather(part)) for key, part in value.items())  # type: ignore[call-arg]
    if isinstance(value, (list, tuple)):
        return type(value)(gather(part) for part in value)
    return value


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Load a whole optimizer state, saved by whichever number of processes, sharded or not, into the optimizer of this
    run.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def part(value, p):
        if not isinstance(value, torch.Tensor) or value.shape != p.shape or not value.dim():
            return value
        if isinstance(p, DTensor):  # every process has read the same file: each cuts out its part, nothing is sent
            return distribute_tensor(value.contiguous().to(p.device), p.device_mesh, p.placements, src_data_rank=None)
        return torch.empty_like(p, dtype=value.dtype).copy_(
            value
        )  # the fused optimizer needs the layout of the weights

    parts = {i: {key: part(value, parameters[i]) for key, value in row.items()} for i, row in state["state"].items()}
    optimizer.load_state_dict({**state, "state": parts})
