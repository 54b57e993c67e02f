# SPDX-License-Identifier: Apache-2.0
"""Latency of the command path while everything else runs: operator frame in -> /joint_command out, and pause request ->
deceleration.

Real processes: simulated robot with its camera, recorder, supervisor with its panel (one client on the WebSocket),
teleop with retargeting, command filter. This script is the operator. A frame that asks for a new pose of the head is
sent at a random moment while the robot is at rest, and the first command that moves is timed; the filter's own period
is part of it (5 ms on average). Likewise the first command after each takeover, from the supervisor's stamp; the
wait for the suit's next frame (up to 17 ms) is part of that. Prints a table; the last line is one JSON object.
`--quick` ends within 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np
from processes.command_session import HEAD, MOVING_RAD_S, RAMP_RAD_S, STEP_RAD, TABLE, Operator, Session

from rove_contract.modes import Mode
from rove_contract.priority import raise_priority
from rove_description import mjcf

DRIVE_S = 5.0  # of driving between two takeovers of the long run


def other_pose(session):
    """(J,) rad: home with the head STEP_RAD aside, or home where it is there: away from where the robot rests."""
    pose = mjcf.home(TABLE)
    at_home = abs(session.commands[-1][1] - pose[HEAD]) < 0.5 * STEP_RAD
    pose[HEAD] += STEP_RAD * at_home
    return pose


def input_latency(session, operator, trials, rng):
    """Latencies (s) of `trials` new poses: to the stamp of the first command that moves, and to its arrival here.

    The command filter stamps a command when it publishes it. On arrival this process may have stood still itself.
    """
    found = []
    for _ in range(trials):
        session.rest()
        pause = time.monotonic() + rng.uniform(0.0, 0.05)
        session.spin_until(lambda until=pause: time.monotonic() > until, "waiting", 1.0)
        pose = other_pose(session)
        session.commands.clear()
        operator.sent_at = 0.0
        operator.jump(pose)
        session.spin_until(lambda: any(abs(c[3]) > MOVING_RAD_S for c in session.commands), "the head moves", 5.0)
        first = next(c for c in session.commands if abs(c[3]) > MOVING_RAD_S)
        found.append(((first[4] - operator.sent_ns) * 1e-9, first[0] - operator.sent_at))
    return np.array(found).T


def takeover_latency(session, operator, trials, until=float("inf"), drive_s=0.0):
    """Rows of (s from the stamp of a takeover, s from the first operator frame after it) to the stamp of the first
    command that moves; the operator's head is STEP_RAD off all the time, so the first frame after the takeover must
    move the robot. At most `trials`, and none begins after the monotonic time `until`. drive_s: the operator then
    drives on for so long.
    """
    found, slowest = [], 0.0
    for _ in range(trials):
        if time.monotonic() > until:
            break
        session.rest()
        pose = other_pose(session)
        operator.ramp_from = None
        operator.jump(pose)
        wait = time.monotonic() + 0.3  # the suit moved long before the takeover
        session.spin_until(lambda until=wait: time.monotonic() > until, "waiting", 1.0)
        session.commands.clear()
        operator.sent.clear()
        session.targets.clear()
        session.enter("force_takeover", Mode.ADAPTATION)
        session.spin_until(lambda: any(abs(c[3]) > MOVING_RAD_S for c in session.commands), "the head moves", 5.0)
        first = next(c for c in session.commands if abs(c[3]) > MOVING_RAD_S)
        frame = next((stamp for stamp in operator.sent if stamp > session.mode_ns), first[4])
        found.append(((first[4] - session.mode_ns) * 1e-9, max(first[4] - frame, 0) * 1e-9))
        if found[-1][0] > slowest:
            slowest = found[-1][0]
            target = next((stamp for _, stamp in session.targets if stamp > session.mode_ns), first[4])
            ways = (("frame sent", frame), ("target published", target), ("command", first[4]))
            words = ", ".join(f"{what} after {(stamp - session.mode_ns) * 1e-6:.1f} ms" for what, stamp in ways)
            print(f"slowest first command so far, takeover {len(found)}: {words}", flush=True)
        operator.ramp_from = time.monotonic() if drive_s else None
        wait = time.monotonic() + drive_s
        session.spin_until(lambda until=wait: time.monotonic() > until, "driving", drive_s + 1.0)
        session.enter("pause", Mode.PAUSED)
    operator.ramp_from = None
    return np.array(found).reshape(-1, 2).T


def steady(commands):
    """Whether the last 10 commands followed the ramp, and its turn is not near."""
    last = commands[-10:]
    return (
        len(last) == 10 and abs(last[-1][1]) < 0.5 and all(abs(abs(c[3]) - RAMP_RAD_S) < 0.1 * RAMP_RAD_S for c in last)
    )


def pause_latency(session, operator, trials):
    """Latencies (s) from the pause request to the mode message, and to the first command that has lost 5 % of the
    speed.
    """
    found, heard = [], []
    for _ in range(trials):
        operator.ramp_from = time.monotonic()
        session.enter("force_takeover", Mode.ADAPTATION)
        # Steadily on the ramp: while the robot still speeds up to catch it, the limits themselves delay a deceleration.
        session.commands.clear()
        session.spin_until(lambda: steady(session.commands), "the robot follows the ramp", 20.0)
        before = abs(session.commands[-1][3])
        session.commands.clear()
        sent = session.enter("pause", Mode.PAUSED)
        session.spin_until(lambda: session.commands and abs(session.commands[-1][3]) < 1e-6, "rest", 10.0)
        found.append(next(c[0] for c in session.commands if abs(c[3]) < 0.95 * before) - sent)
        heard.append(session.mode_at - sent)
    return np.array(found), np.array(heard)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 poses, 2 pauses")
    parser.add_argument("--takeovers", type=int, default=50, help="how often the first command of one is timed")
    parser.add_argument("--minutes", type=float, default=0.0, help="then go on taking over and driving for so long")
    args = parser.parse_args()
    quick = args.quick
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(folder)
        operator = Operator(session.endpoint)
        operator.start()
        # The suit and the robot's driver, which this process plays, are other computers or real-time processes.
        priority = raise_priority(nice=-10)
        try:
            session.spin_until(lambda: session.recorder.get("ready") == "true", "the recorder is ready", 60.0)
            # A filter that starts in the middle of an episode waits for a pause.
            session.spin_until(
                lambda: session.reason.startswith("holding"), "the command filter hears robot and supervisor", 60.0
            )
            session.enter("start_rollout", Mode.ROLLOUT)
            session.enter("pause", Mode.PAUSED)
            session.enter("force_takeover", Mode.ADAPTATION)
            latency, arrival = input_latency(session, operator, 10 if quick else 100, rng)
            session.enter("pause", Mode.PAUSED)
            first = takeover_latency(session, operator, min(args.takeovers, 20) if quick else args.takeovers)
            if args.minutes:
                end = time.monotonic() + 60.0 * args.minutes
                more = takeover_latency(session, operator, 10**6, end, DRIVE_S)
                first = np.concatenate([first, more], axis=1)
            pause, heard = pause_latency(session, operator, 2 if quick else 15)
            dropped = session.recorder.get("dropped", "?")
            session.call("abort")
        finally:
            operator.running = False
            session.close()
            operator.join(timeout=1.0)
            operator.sender.close()
    rows = {"input_to_command": latency * 1e3, "input_to_arrival_here": arrival * 1e3}
    rows |= {"takeover_to_command": first[0] * 1e3, "first_frame_to_command": first[1] * 1e3}
    rows |= {"pause_to_deceleration": pause * 1e3, "pause_to_mode": heard * 1e3}
    print(f"{'ms':24}{'p50':>8}{'p99':>8}{'max':>8}{'n':>6}   on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    result = {
        "bench": "command_path",
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 2),
        "recorder_dropped": dropped,
    }
    result["own_priority"], result["stops_named"] = priority, session.named
    result["panel_messages"] = int(session.received)
    for name, values in rows.items():
        p50, p99 = np.percentile(values, [50, 99])
        print(f"{name:24}{p50:8.1f}{p99:8.1f}{values.max():8.1f}{len(values):6d}")
        result[f"{name}_ms"] = {
            "p50": round(p50, 2),
            "p99": round(p99, 2),
            "max": round(float(values.max()), 2),
            "n": len(values),
        }
    print(
        f"{'stage, ms':24}{'p50':>8}{'p99':>8}{'max':>8}   p99: of the worst 10 s of {len(session.latencies['filter'])}"
    )
    for stage, reports in session.latencies.items():
        if reports:
            p50, (p99, worst) = np.median(reports, axis=0)[0], np.max(reports, axis=0)[1:]
            print(f"{stage:24}{p50:8.1f}{p99:8.1f}{worst:8.1f}")
            result[f"{stage}_ms"] = {"p50": p50, "p99": p99, "max": worst}
    print(f"stops named by the command filter meanwhile: {session.named or 'none'}")
    result |= {"target_p99_ms": 20, "target_first_frame_max_ms": 30}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
