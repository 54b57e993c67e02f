# SPDX-License-Identifier: Apache-2.0
"""Takeover of the 50-joint robot from random misalignments: the command filter with its approach on one line, the same
without it, ruckig (joints alone, and phase synchronised), and the usual slide to the operator in a fixed second.

First table: half of the takeovers begin in motion (the policy was paused a moment ago), and the operator moves slowly,
as people do while they align. Peak velocity, acceleration and jerk as shares of the limits, time to alignment, a plot
(docs/img/takeover.png). Second table: from rest to an operator who stands still, the only case in which ruckig can
synchronise phases; how far the right wrist leaves the straight line between its two ends. Everybody gets a new target
each period and the same limits. Prints tables; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.command_filter.approach import Approach
from rove_teleop.command_filter.filter import CommandFilter

TABLE = joints.load()
LIMITS = TABLE.limits
PERIOD = timing.CONTROL_PERIOD_S
J = len(TABLE)
ALIGNED_RAD = 0.01
SLIDE_S = 1.0
STEPS = 350


def scenario(rng, largest):
    """(past commands (3, J), operator (STEPS, J)): a robot at rest or in motion, an operator up to `largest` rad
    away.
    """
    q = np.clip(mjcf.home(TABLE) + rng.normal(0, 0.3, J), LIMITS.lower, LIMITS.upper)
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(q)
    past = [q] * 3
    if rng.random() < 0.5:
        goal = rng.uniform(LIMITS.lower, LIMITS.upper)
        past = [limiter.step(goal) for _ in range(20)][-3:]
    offset = rng.uniform(-largest, largest, J)
    t = np.arange(STEPS)[:, None] * PERIOD
    sway = 0.02 * np.sin(2 * np.pi * 0.3 * t + rng.uniform(0, 6, J))
    return np.array(past), np.clip(past[-1] + offset + sway, LIMITS.lower, LIMITS.upper), limiter


def velocities(operator):
    """(STEPS, J) rad/s: differences of the targets, as teleop's receiver estimates them."""
    return np.diff(operator, axis=0, prepend=operator[:1]) / PERIOD


def start_filter(past, moving_filter):
    """A command filter in the state of `moving_filter`."""
    limiter = CommandFilter(LIMITS, PERIOD)
    limiter.reset(past[-1])
    limiter._states[:] = moving_filter._states
    return limiter


def approach_and_track(past, operator, moving_filter):
    """What the command filter node does: all joints on one line, then tracking."""
    limiter = start_filter(past, moving_filter)
    approach = Approach(LIMITS, limiter)
    return np.array([limiter.step(*approach.follow(x, v)) for x, v in zip(operator, velocities(operator))])


def track(past, operator, moving_filter):
    """The command filter alone: every joint as fast as it can."""
    limiter = start_filter(past, moving_filter)
    return np.array([limiter.step(x, v) for x, v in zip(operator, velocities(operator))])


def use_ruckig(past, operator, moving_filter, synchronization):
    """Community ruckig from the same state, a new target each period; synchronization: its own name for it."""
    import ruckig

    otg, state, out = ruckig.Ruckig(J, PERIOD), ruckig.InputParameter(J), ruckig.OutputParameter(J)
    state.synchronization = getattr(ruckig.Synchronization, synchronization)
    state.max_velocity, state.max_acceleration, state.max_jerk = (
        limit.tolist() for limit in (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk)
    )
    state.current_position = past[-1].tolist()
    # The filter's velocity is the mean over the last period, ruckig's that of its end.
    velocity = moving_filter.velocity + 0.5 * PERIOD * moving_filter.acceleration
    state.current_velocity = np.clip(velocity, -LIMITS.velocity, LIMITS.velocity).tolist()
    state.current_acceleration = moving_filter.acceleration.tolist()
    rows, q = [], past[-1]
    for target in operator:
        state.target_position = target.tolist()
        if otg.update(state, out) >= 0:
            out.pass_to_input(state)
            q = np.array(out.new_position)
        rows.append(q)
    return np.array(rows)


def leaves_line(kinematics, past, path):
    """m: how far the right wrist leaves the straight line from its first to its last position."""
    points = []
    for q in (past[-1], *path):
        kinematics.forward(q)
        points.append(kinematics.position("right_wrist").copy())
    points = np.array(points)
    line = points[-1] - points[0]
    along = np.clip((points - points[0]) @ line / (line @ line), 0.0, 1.0)
    return float(np.linalg.norm(points - points[0] - along[:, None] * line, axis=1).max())


def slide(past, operator):
    """Fixed 1 s linear interpolation to the operator, then the operator itself: no cap on any derivative."""
    share = np.minimum((np.arange(len(operator)) + 1) * PERIOD / SLIDE_S, 1.0)[:, None]
    return past[-1] + share * (operator - past[-1])


def peaks(past, path):
    q = np.vstack([past, path])
    limits = (LIMITS.velocity, LIMITS.acceleration, LIMITS.jerk)
    return [float((np.abs(np.diff(q, n=n, axis=0)) / PERIOD**n / limit).max()) for n, limit in enumerate(limits, 1)]


def time_to_alignment(path, operator):
    """s until every joint stays within ALIGNED_RAD of the operator."""
    away = np.flatnonzero((np.abs(path - operator) > ALIGNED_RAD).any(axis=1))
    return (away[-1] + 1 if len(away) else 0) * PERIOD


def plot(rows, example, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    colours = {"command filter": "#1f6f8b", "ruckig": "#8a8a3a", "fixed 1 s slide": "#c8553d"}
    past, operator, paths, joint = example
    t = (np.arange(STEPS) + 1) * PERIOD
    axes[0].plot(t, operator[:, joint], "k:", lw=1, label="operator")
    for name in colours:
        trajectory = paths[name]
        axes[0].plot(t, trajectory[:, joint], color=colours[name], label=name)
        q = np.concatenate([past[:, joint], trajectory[:, joint]])
        axes[1].plot(t, np.diff(q)[-STEPS:] / PERIOD, color=colours[name])
    axes[0].set(title=f"takeover in motion: {TABLE.names[joint]}", xlabel="s", ylabel="rad", xlim=(0, 1.6))
    axes[0].legend(frameon=False)
    for sign in (-1, 1):
        axes[1].axhline(sign * LIMITS.velocity[joint], color="grey", lw=0.8, ls="--")
    axes[1].set(title="its velocity (dashed: limit)", xlabel="s", ylabel="rad/s", xlim=(0, 1.6))
    labels = ("velocity", "acceleration", "jerk")
    for k, name in enumerate(colours):
        values = np.array([row["peaks"] for row in rows[name]])
        axes[2].boxplot(
            values,
            positions=np.arange(3) + 0.22 * k,
            widths=0.16,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colours[name], "alpha": 0.6},
            medianprops={"color": "k"},
        )
    axes[2].axhline(1.0, color="grey", lw=0.8, ls="--")
    axes[2].set_yscale("log")
    axes[2].set_xticks(np.arange(3) + 0.22, labels)
    axes[2].set(title="peak / limit, all takeovers")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def compare_from_rest(count, largest, rng):
    """Time and straightness of takeovers from rest by an operator who stands still; prints a table."""
    kinematics = Kinematics(TABLE)
    methods = {
        "command filter": approach_and_track,
        "joints alone": track,
        "ruckig, phase": lambda past, operator, state: use_ruckig(past, operator, state, "Phase"),
        "ruckig, alone": lambda past, operator, state: use_ruckig(past, operator, state, "No"),
        "line in joint space": lambda past, operator, _: slide(past, operator),
    }
    found = {name: [] for name in methods}
    for _ in range(count):
        q = np.clip(mjcf.home(TABLE) + rng.normal(0, 0.3, J), LIMITS.lower, LIMITS.upper)
        state = CommandFilter(LIMITS, PERIOD)
        state.reset(q)
        goal = np.clip(q + rng.uniform(-largest, largest, J), LIMITS.lower, LIMITS.upper)
        past, operator = np.array([q] * 3), np.tile(goal, (STEPS, 1))
        for name, method in methods.items():
            path = method(past, operator, state)
            found[name].append((time_to_alignment(path, operator), leaves_line(kinematics, past, path)))
    print("from rest, an operator who stands still: how far the right wrist leaves the straight line")
    print(f"{'':20}{'p50 time':>12}{'max time':>12}{'mean':>10}{'worst':>10}")
    result = {}
    for name, values in found.items():
        times, away = np.array(values).T
        cm = 100 * away
        print(f"{name:20}{np.median(times):10.2f} s{times.max():10.2f} s{cm.mean():7.1f} cm{cm.max():7.1f} cm")
        result[name] = {
            "alignment_p50_s": round(float(np.median(times)), 3),
            "alignment_max_s": round(float(times.max()), 3),
            "wrist_leaves_line_mean_m": round(float(away.mean()), 4),
            "wrist_leaves_line_max_m": round(float(away.max()), 4),
        }
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 takeovers")
    parser.add_argument("--takeovers", type=int, default=100)
    parser.add_argument("--misalignment", type=float, default=0.5, help="largest misalignment of a joint, rad")
    parser.add_argument(
        "--plot", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "img" / "takeover.png"
    )
    args = parser.parse_args()
    count = 20 if args.quick else args.takeovers
    rng = np.random.default_rng(0)
    methods = {
        "command filter": approach_and_track,
        "joints alone": track,
        "ruckig": lambda past, operator, state: use_ruckig(past, operator, state, "No"),
        "fixed 1 s slide": lambda past, operator, _: slide(past, operator),
    }
    rows = {name: [] for name in methods}
    example = None
    for _ in range(count):
        past, operator, state = scenario(rng, args.misalignment)
        paths = {name: method(past, operator, state) for name, method in methods.items()}
        for name, path in paths.items():
            rows[name].append({"peaks": peaks(past, path), "time": time_to_alignment(path, operator)})
        moving = np.abs(np.diff(past, axis=0)[-1]) / PERIOD
        joint = int(np.argmax(moving[6:20])) + 6  # an arm joint shows it best
        if example is None and moving[joint] > 1.0:
            example = (past, operator, paths, joint)
    result = {"bench": "takeover", "takeovers": count, "misalignment_rad": args.misalignment}
    print("an operator who sways, half of the takeovers in motion; peaks: worst of all, share of the limit")
    print(f"{'':20}{'velocity':>10}{'accel.':>10}{'jerk':>10}{'p50 time':>12}{'max time':>12}")
    for name, values in rows.items():
        worst = np.max([v["peaks"] for v in values], axis=0)
        times = np.array([v["time"] for v in values])
        print(
            f"{name:20}{worst[0]:10.2f}{worst[1]:10.2f}{worst[2]:10.2f}{np.median(times):10.2f} s{times.max():10.2f} s"
        )
        result[name] = {
            "peak_velocity_over_limit": round(worst[0], 6),
            "peak_acceleration_over_limit": round(worst[1], 6),
            "peak_jerk_over_limit": round(worst[2], 6),
            "alignment_p50_s": round(float(np.median(times)), 3),
            "alignment_max_s": round(float(times.max()), 3),
        }
    result["from_rest"] = compare_from_rest(count, args.misalignment, rng)
    if example is not None and not (args.quick and args.plot.exists()):
        plot(rows, example, args.plot)
        print(f"plot: {args.plot}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
