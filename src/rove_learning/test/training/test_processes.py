# SPDX-License-Identifier: Apache-2.0
"""Real processes: two of them train what one does, and a killed one leaves what it takes to go on exactly."""

import functools
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from rove_learning import command_line
from rove_learning.config import TrainConfig
from rove_learning.inference import checkpoint
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.training import phases, processes, sharding

pytestmark = pytest.mark.slow


def config(mixed, out, batch, **changes):
    return replace(
        TrainConfig(
            (str(mixed),),
            str(out),
            threads=1,
            actor=replace(ACTOR, steps=6, batch=batch, weight_tail=0.5),
            critic=replace(CRITIC, mc_steps=4, steps=6, batch=batch),
        ),
        **changes,
    )


def environment():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def start(settings, folder, processes=1, program=("-m", "rove_learning.train", "--config"), **more):
    file = folder / f"{processes}.yaml"
    file.write_text(command_line.text(settings))
    launcher = (
        ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port"] if processes > 1 else []
    )
    env = environment() | more
    argv = [sys.executable, *launcher, *([env["MASTER_PORT"]] if launcher else []), *program, str(file)]
    return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process, code=0):
    try:
        _, errors = process.communicate(timeout=110)
    finally:
        process.kill()
    assert process.returncode == code, errors[-2000:]
    return errors


def weights(out):
    return load_file(out / "actor.safetensors") | {
        f"critic.{k}": v for k, v in load_file(out / "critic.safetensors").items()
    }


def losses(out):
    return {
        name: [row["loss"] for row in rows] for name, rows in json.loads((out / "history.json").read_text()).items()
    }


def assert_same(a, b):
    for name, curve in losses(a).items():
        np.testing.assert_allclose(curve, losses(b)[name], rtol=1e-4, err_msg=name)
    for name, value in weights(a).items():
        np.testing.assert_allclose(value, weights(b)[name], atol=2e-4, err_msg=name)
    ours, theirs = (np.load(out / "labels.npz") for out in (a, b))
    np.testing.assert_allclose(ours["value"], theirs["value"], atol=1e-5)
    clear = np.abs(ours["advantage"] - ours["threshold"]) > 0.1
    np.testing.assert_array_equal(ours["positive"][clear], theirs["positive"][clear])


def test_two_processes_and_accumulation_train_what_one_process_with_the_same_global_batch_does(mixed, tmp_path):
    """A global batch of 8: one process at once; one in two parts; two processes with 4 each."""
    from rove_learning.train import train

    train(config(mixed, tmp_path / "one", 8), progress=False)
    parts = config(mixed, tmp_path / "parts", 4)
    train(
        replace(parts, actor=replace(parts.actor, accumulate=2), critic=replace(parts.critic, accumulate=2)),
        progress=False,
    )
    finish(start(config(mixed, tmp_path / "two", 4), tmp_path, processes=2))
    assert_same(tmp_path / "one", tmp_path / "parts")
    assert_same(tmp_path / "one", tmp_path / "two")


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
}  # what `accelerate launch` sets for configs/accelerate_fsdp2.yaml


def worker(killed_at, *files):
    """One of two processes; killed_at: the step, of all phases together, that kills it when it is done and before it is
    saved.
    """
    from rove_learning.train import train

    steps = itertools.count(1)

    def stop():
        return next(steps) == killed_at and os.kill(os.getpid(), signal.SIGKILL)

    # Only the second process wants to save after every step: all must do it together.
    phases.optimise = functools.partial(phases.optimise, save_every_s=0.0 if os.environ["RANK"] == "1" else 1e9)
    for file in files:
        train(command_line.parse(TrainConfig, ["--config", file]), progress=False, stop=stop)


def test_two_processes_with_sharded_weights_train_what_one_process_does_and_go_on_exactly_after_sigkill(
    mixed, tmp_path
):
    """FSDP2, a global batch of 8 in four parts, backbones that are trained; killed in the actor's phase."""
    from rove_learning.train import train

    train(config(mixed, tmp_path / "one", 8), progress=False)
    parts = config(mixed, tmp_path / "killed", 2)
    parts = replace(parts, actor=replace(parts.actor, accumulate=2), critic=replace(parts.critic, accumulate=2))
    finish(start(parts, tmp_path, 2, (__file__, "14"), **FSDP2), code=1)
    assert torch.load(tmp_path / "killed/work/actor.pt", weights_only=True)["step"] == 3

    whole = replace(parts, out=str(tmp_path / "two"))
    rest = tmp_path / "rest.yaml"
    rest.write_text(command_line.text(parts))
    errors = finish(start(whole, tmp_path, 2, (__file__, "-1", str(rest)), **FSDP2))
    held, of = map(int, re.findall(r"FSDP2: this process holds ([0-9]+) of ([0-9]+)", errors.replace(",", ""))[-1])
    assert 0.4 * of < held < 0.6 * of
    assert_same(tmp_path / "one", tmp_path / "two")
    assert checkpoint.load(tmp_path / "two").hash == checkpoint.load(tmp_path / "killed").hash
    assert losses(tmp_path / "two") == losses(tmp_path / "killed")


@pytest.mark.parametrize(
    "setting, value, named",
    [("fsdp_version", 1, "fsdp_version 1"), ("activation_checkpointing", True, "fsdp_activation_checkpointing")],
)
def test_a_launch_that_shards_in_another_way_is_refused(setting, value, named):
    plugin = SimpleNamespace(fsdp_version=2, activation_checkpointing=False, cpu_offload=None, ignored_modules=None)
    state = SimpleNamespace(fsdp_plugin=plugin)
    launch = SimpleNamespace(distributed_type="FSDP", state=state, mixed_precision="bf16", parallelism_config=None)
    assert sharding.requested_plugin(launch) is plugin
    setattr(plugin, setting, value)
    with pytest.raises(
        ValueError,
        match=f"launched for FSDP with {named}, which is not supported here; see configs/accelerate_fsdp2.yaml",
    ):
        sharding.requested_plugin(launch)


def test_after_sigkill_the_same_command_ends_with_the_same_checkpoint(mixed, tmp_path):
    from rove_learning.train import train

    train(config(mixed, tmp_path / "whole", 8), progress=False)
    settings = config(mixed, tmp_path / "killed", 8)
    process = start(settings, tmp_path)
    end = time.monotonic() + 60
    while not (tmp_path / "killed/work/critic_mc.pt").is_file() and process.poll() is None:  # then it is in OVE
        assert time.monotonic() < end, "training did not get there"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    train(settings, progress=False)
    assert checkpoint.load(tmp_path / "whole").hash == checkpoint.load(tmp_path / "killed").hash
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed")


def test_bfloat16_is_asked_for_stored_and_kept_through_a_resume(mixed, tmp_path):
    from rove_learning.train import train

    train(config(mixed, tmp_path / "exact", 8), progress=False)
    settings = config(mixed, tmp_path / "rough", 8, precision="bf16")
    finish(start(settings, tmp_path))
    info = json.loads((tmp_path / "rough/config.json").read_text())
    assert info["train"]["precision"] == "bf16" and "precision: bf16" in (tmp_path / "rough/config.yaml").read_text()
    exact = {name for name, value in weights(tmp_path / "rough").items() if value.dtype != np.float32}
    assert exact == {"critic.scale"}  # a number of steps, float64
    # Killed in OVE: the phase before it does not run again, and what it left on the model is not there.
    killed = replace(settings, out=str(tmp_path / "killed"))
    finish(start(killed, tmp_path, 1, (__file__, "7"), RANK="0"), code=-signal.SIGKILL)
    finish(start(killed, tmp_path))
    assert losses(tmp_path / "killed") == losses(tmp_path / "rough")
    for name, curve in losses(tmp_path / "exact").items():
        assert curve != losses(tmp_path / "rough")[name]
        np.testing.assert_allclose(curve, losses(tmp_path / "rough")[name], rtol=0.05, err_msg=name)
    with pytest.raises(ValueError, match="holds the step critic with another precision"):
        train(replace(settings, precision="auto"), progress=False)


def test_a_gpu_that_is_not_there_and_one_for_several_processes_are_refused_before_anything_is_read(
    tmp_path, monkeypatch
):
    from rove_learning.training.plan import resolve

    settings = TrainConfig(("nowhere",), str(tmp_path), threads=1, device="cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--device cuda:1, but torch .* finds no GPU; use --device cpu"):
        resolve(settings)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes, which take a GPU each: --device cuda"):
        resolve(replace(settings, precision="no"))


def test_processes_wait_for_hours_for_one_that_decodes_or_computes_features(monkeypatch):
    import accelerate

    asked = {}
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: asked.update(options))
    monkeypatch.setattr(sharding, "requested_plugin", lambda processes: None)
    processes.accelerator.__wrapped__("cpu")
    (group,) = asked["kwargs_handlers"]
    assert group.timeout.total_seconds() > 3600


if __name__ == "__main__":
    worker(int(sys.argv[1]), *sys.argv[2:])
