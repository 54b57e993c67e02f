# SPDX-License-Identifier: Apache-2.0
"""Takeover of the 50-joint robot from random misalignments: the command filter against the usual slide to the operator
in a fixed second.

Peak velocity, acceleration and jerk as shares of the limits, time to alignment, and a plot (docs/img/takeover.png).
Half of the takeovers begin in motion (the policy was paused a moment ago), and the operator moves slowly, as people do
while they align. Prints a table; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from rove_contract import timing
from rove_description import joints, mjcf
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
    colours = {"command filter": "#1f6f8b", "fixed 1 s slide": "#c8553d"}
    past, operator, paths, joint = example
    t = (np.arange(STEPS) + 1) * PERIOD
    axes[0].plot(t, operator[:, joint], "k:", lw=1, label="operator")
    for name, trajectory in paths.items():
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
            positions=np.arange(3) + 0.3 * k,
            widths=0.22,
            showfliers=False,
            patch_artist=True,
            boxprops={"facecolor": colours[name], "alpha": 0.6},
            medianprops={"color": "k"},
        )
    axes[2].axhline(1.0, color="grey", lw=0.8, ls="--")
    axes[2].set_yscale("log")
    axes[2].set_xticks(np.arange(3) + 0.15, labels)
    axes[2].set(title="peak / limit, all takeovers")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


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
    rows = {"command filter": [], "fixed 1 s slide": []}
    example = None
    for _ in range(count):
        past, operator, limiter = scenario(rng, args.misalignment)
        paths = {
            "command filter": np.array([limiter.step(x) for x in operator]),
            "fixed 1 s slide": slide(past, operator),
        }
        for name, path in paths.items():
            rows[name].append({"peaks": peaks(past, path), "time": time_to_alignment(path, operator)})
        moving = np.abs(np.diff(past, axis=0)[-1]) / PERIOD
        joint = int(np.argmax(moving[6:20])) + 6  # an arm joint shows it best
        if example is None and moving[joint] > 1.0:
            example = (past, operator, paths, joint)
    result = {"bench": "takeover", "takeovers": count, "misalignment_rad": args.misalignment}
    print(
        f"{'':18}{'velocity':>10}{'accel.':>10}{'jerk':>10}{'p50 time':>12}{'max time':>12}   (peaks: worst of all, "
        f"share of the limit)"
    )
    for name, values in rows.items():
        worst = np.max([v["peaks"] for v in values], axis=0)
        times = np.array([v["time"] for v in values])
        print(
            f"{name:18}{worst[0]:10.2f}{worst[1]:10.2f}{worst[2]:10.2f}{np.median(times):10.2f} s{times.max():10.2f} s"
        )
        result[name] = {
            "peak_velocity_over_limit": round(worst[0], 6),
            "peak_acceleration_over_limit": round(worst[1], 6),
            "peak_jerk_over_limit": round(worst[2], 6),
            "alignment_p50_s": round(float(np.median(times)), 3),
            "alignment_max_s": round(float(times.max()), 3),
        }
    if example is not None and not (args.quick and args.plot.exists()):
        plot(rows, example, args.plot)
        print(f"plot: {args.plot}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
