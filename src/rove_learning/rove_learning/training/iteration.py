# SPDX-License-Identifier: Apache-2.0
"""One iteration of Algorithm 1, lines 3 to 7: critic, labels, actor. Each step reads what the step before left in the
run's folder, so that each can be a command of its own.
"""

from __future__ import annotations

import sys

from rove_learning.data.dataset import DatasetError
from rove_learning.data.recoveries import describe_short_recoveries, recovery_lengths
from rove_learning.inference.scoring import condition_effect
from rove_learning.training import label, processes
from rove_learning.training.buffers import Buffers
from rove_learning.training.plan import Plan
from rove_learning.training.run_folder import RunFolder
from rove_learning.training.train_actor import train_actor
from rove_learning.training.train_critic import train_critic

RECENT = 50  # steps; the loss of a summary is their mean


def run_iteration(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    """Algorithm 1, lines 3 to 7. Returns the summary of `run_actor`."""
    if not any(e.trainable and e.has_robot for dataset in plan.datasets for e in dataset.episodes):
        raise DatasetError(
            f"nothing for the actor in {', '.join(plan.config.dataset)}: its episodes are human videos, aborted or "
            f"excluded"
        )
    run_critic(plan, buffers, folder)
    run_label(plan, buffers, folder)
    return run_actor(plan, buffers, folder)


def run_critic(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    """Line 3. Returns the losses."""
    if not plan.critic_phases:
        return {"critic": None, "reason": "this run trains none"}
    config = plan.config
    folder.claim(
        "critic",
        critic=config.critic,
        regularise=config.regularise,
        phases=plan.critic_phases,
        folds=plan.folds,
    )
    result = train_critic(plan, buffers)
    folder.save_critic(result.critic)
    history = folder.add_history(result.history)
    for fold in range(plan.folds):
        result = train_critic(plan, buffers, fold=fold)
        folder.save_critic(result.critic, fold)
        history = folder.add_history(result.history)
    processes.wait_for_all(config.device)
    return {"critic": str(plan.out / "critic.safetensors"), **_losses(history)}


def run_label(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    """Lines 4 to 6. Returns the shares of positive and kept frames."""
    config, buffer = plan.config, buffers.actor
    folder.claim("label", method=config.method, labels=config.labels, horizon=config.critic.horizon)
    critic, critic_hash = plan.fixed_critic or (folder.load_critic() if plan.critic_phases else (None, ""))
    folds = [folder.load_critic(fold)[0] for fold in range(plan.folds)]
    scores = label.score(plan, buffers, critic, folds) if critic is not None else None
    summary: dict = {}
    if processes.main_process():
        of_actor = scores.at(buffers.critic.has_robot) if scores is not None else label.unscored(buffer)
        of_actor = label.centre(plan, buffer, of_actor)
        labels = label.assign(plan, buffer, of_actor.advantage)
        lengths = recovery_lengths(buffer.stage, buffer.episode)
        warning = describe_short_recoveries(lengths, config.critic.horizon)
        if warning:
            print(f"label: {warning}", file=sys.stderr)
        file = folder.save_labels(buffer, labels, of_actor)
        summary = {"labels": str(file), **label.shares(labels), **({"warning": warning} if warning else {})}
        plan.tracking.note("labels", label.shares(labels))
        if scores is not None:
            summary["scores"] = folder.save_scores(buffers.critic, scores, labels, critic_hash)
    processes.wait_for_all(config.device)
    return summary


def run_actor(plan: Plan, buffers: Buffers, folder: RunFolder) -> dict:
    """Line 7. Returns the run's summary, which also stands in OUT/train.json."""
    config, buffer = plan.config, buffers.actor
    labels = folder.load_labels(buffer)
    folder.claim("actor", actor=config.actor, regularise=config.regularise, labels=label.digest(labels))
    result = train_actor(plan, buffers, labels)
    if plan.fixed_critic is not None:
        critic = plan.fixed_critic[0]
    elif plan.critic_phases:
        critic, _ = folder.load_critic()
    else:
        critic = plan.previous.critic if plan.previous else None
    folder.save_policy(result.actor, critic, buffer)
    history = folder.add_history(result.history)
    summary = {
        "out": str(plan.out),
        "method": config.method,
        "iteration": plan.iteration,
        "episodes": len(buffer.episodes),
        "frames": len(buffer),
        **label.shares(labels),
        **_losses(history),
    }
    if plan.method.conditioned and processes.main_process():
        effect = condition_effect(result.actor, buffer, config.device)
        plan.tracking.note("condition", effect)
        summary |= effect
    folder.save_summary(summary)
    processes.wait_for_all(config.device)
    return summary


def _losses(history: dict[str, list[dict]]) -> dict:
    """Per phase: mean loss of the last steps, and the share of its time in which a step waited for its data."""
    trained = {name: steps for name, steps in history.items() if steps}
    return {
        "loss": {
            name: sum(step["loss"] for step in steps[-RECENT:]) / len(steps[-RECENT:])
            for name, steps in trained.items()
        },
        "waited_for_data": {
            name: sum(step["waited"] for step in steps) / sum(step["seconds"] for step in steps)
            for name, steps in trained.items()
        },
    }
