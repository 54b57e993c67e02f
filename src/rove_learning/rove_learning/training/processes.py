# SPDX-License-Identifier: Apache-2.0
"""What accelerate decides: how many processes train, on which device, in which precision."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
from collections.abc import Iterator

import torch

from rove_learning.config import TrainConfig
from rove_learning.inference import checkpoint
from rove_learning.training import sharding

# How long processes wait for one that decodes pictures or computes features: torch's 10 min for GPUs would end the run.
# Nobody waits so long for a process that died on the same machine: the launcher ends the others.
PATIENCE = datetime.timedelta(hours=3)


def main_process() -> bool:
    """False in all but the first of several processes. Needs no accelerate: both launchers set RANK."""
    return int(os.environ.get("RANK", "0")) == 0


def several() -> bool:
    """There are several processes: both launchers set WORLD_SIZE."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def accelerator(device: str = "cpu"):
    """This process' accelerate.Accelerator: `accelerate launch` or torchrun decide how many processes there are,
    precision, compilation and sharding. device: "cpu", "cuda", or "cuda:N" in one process alone.

    Raises ValueError for a GPU that is not there and for a launch that shards in a way that is not supported.
    """
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f"--device {device}, but torch {torch.__version__} finds no GPU; use --device cpu or a torch for CUDA"
        )
    if ":" in device:
        if several():
            raise ValueError(f"--device {device} with several processes, which take a GPU each: --device cuda")
        torch.cuda.set_device(device)  # accelerate takes the current one
    processes = Accelerator(cpu=device == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
    sharding.requested_plugin(processes)
    return processes


def group(device: str):
    """The accelerate.Accelerator where there are several processes, else None."""
    return accelerator(device) if several() else None


def wait_for_all(device: str) -> None:
    """Wait until every process is here: the main one has then written its files."""
    if several():
        accelerator(device).wait_for_everyone()


@contextlib.contextmanager
def main_first(device: str) -> Iterator[None]:
    """The main process goes first, e.g. to decode pictures into the cache that the others then open."""
    with accelerator(device).main_process_first() if several() else contextlib.nullcontext():
        yield


def mixed_precision(config: TrainConfig) -> str:
    """The precision in force: the configuration's, else the launch's, else bf16 on a GPU that has it and for a
    pretrained backbone.
    """
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if config.precision != "auto" or launched:
        return config.precision if config.precision != "auto" else launched
    pretrained = {
        config.actor.backbone.kind,
        config.critic.backbone.kind,
        *(checkpoint.kinds(config.init) if config.init else ()),
    }
    native = config.device.startswith("cuda") and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native and pretrained != {"compact"} else "no"


def start(config: TrainConfig) -> None:
    """Select this process' device, before anything is put on it, its precision and its threads.

    config: with the precision in force. Raises ValueError where another precision is in force already and for a launch
    that shards in a way that is not supported.
    """
    torch.set_num_threads(config.threads)
    if config.device == "cpu" and config.precision == "no" and not several():
        return
    from accelerate.utils import patch_environment

    with patch_environment(accelerate_mixed_precision=config.precision):  # where `accelerate launch` writes it
        got = accelerator(config.device).mixed_precision
    if got != config.precision:
        raise ValueError(
            f"--precision {config.precision}, but this process trains with {got} already; start another one"
        )
