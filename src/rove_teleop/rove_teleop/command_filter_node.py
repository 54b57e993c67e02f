# SPDX-License-Identifier: Apache-2.0
"""The only node that commands the robot: mode, teleop targets and action chunks in, /joint_command at 100 Hz out."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass

from rclpy.node import Node
from sensor_msgs.msg import JointState

from rove_contract import messages, ros, timing, topics
from rove_contract.latency import Latency
from rove_contract.modes import Mode, Source
from rove_contract.parameters import parameter
from rove_contract.priority import raise_priority
from rove_contract.realtime_publisher import RealtimePublisher
from rove_contract.sender_clock import SenderClock
from rove_contract.thresholds import RESEAT_RAD
from rove_description import robot
from rove_teleop.command_filter import command_source, state_check
from rove_teleop.command_filter.approach import Approach
from rove_teleop.command_filter.command_source import CommandSource
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.guard import Guard, GuardConfig
from rove_teleop.command_filter.state_check import StateCheck

RESEAT_AFTER_S = 0.05  # 5 samples in a row, so that one odd sample moves nothing
# After the process itself stood still for so long, what arrived meanwhile is still waiting behind this tick: one period
# of the stop law without a verdict on the others, then judge them.
STALL_S = 0.05
# After a stop signal and its stop the filter holds until the robot's state ceases, since then nobody is left to hold.
LEFT_S = 0.5
HOLD_AT_MOST_S = 5.0
FOREIGN_PUBLISHER = "another publisher of /joint_command"
NO_STATE = "waiting for the first robot state"
BLOCKED = "commands do not leave: the middleware blocks"
LATE_S = 2.0 * timing.CONTROL_PERIOD_S  # a command that waited longer is dropped: a newer one is there


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    guard: bool = parameter(True, "keep links apart and hands inside the workspace")
    guard_margin: float = parameter(GuardConfig.margin_m, "distance kept between links", unit="m", low=0.0, high=0.5)
    guard_slow: float = parameter(
        GuardConfig.slow_m, "from this distance on approaching slows down", unit="m", low=0.0, high=1.0
    )
    workspace_lower: list[float] = parameter(
        list(GuardConfig.lower),
        "lower corner of the box for hands and forearms, pelvis frame",
        unit="m",
        low=-10.0,
        high=10.0,
    )
    workspace_upper: list[float] = parameter(
        list(GuardConfig.upper),
        "upper corner of the box for hands and forearms, pelvis frame",
        unit="m",
        low=-10.0,
        high=10.0,
    )
    discovery: float = parameter(
        1.0, "how long to look for another publisher of /joint_command before starting", unit="s", low=0.0, high=60.0
    )
    robot: str = parameter(robot.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    realtime: int = parameter(20, "SCHED_FIFO priority of this process; 0: none", low=0, high=99)
    nice: int = parameter(-10, "its priority where real time is not permitted; 0: as it is", low=-20, high=19)


def corner(values: list[float]) -> tuple[float, float, float]:
    """Of the workspace box, m."""
    x, y, z = values
    return x, y, z


class CommandFilterNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("command_filter")
        p = ros.read_parameters(self, Parameters)
        config = GuardConfig(
            margin_m=p.guard_margin,
            slow_m=p.guard_slow,
            lower=corner(p.workspace_lower),
            upper=corner(p.workspace_upper),
        )
        described = robot.load(p.robot)
        self.table = described.table
        ros.claim_role(self, topics.JOINT_COMMAND, "command filter", p.discovery)

        self.reader = messages.JointReader(self.table)
        self.chunk_reader = messages.JointReader(self.table)
        self.teleop_reader = messages.JointReader(self.table)
        self.limiter = CommandFilter(self.table.limits, timing.CONTROL_PERIOD_S)
        self.approach = Approach(self.table.limits, self.limiter)
        self.guard = Guard(self.table, timing.CONTROL_PERIOD_S, config, robot=described) if p.guard else None
        self.source = CommandSource(self.table.limits)
        self.robot_clock, self.policy_clock, self.teleop_clock = (
            SenderClock(ros.now_ns(), time.monotonic()) for _ in range(3)
        )
        self.latencies = {stage: Latency(stage) for stage in ("dds", "filter", "robot")}
        self.answered_at = -float("inf")  # receipt of the newest operator target that a command has answered
        self.check = StateCheck(self.table)
        self.session = ros.session_id(self)
        self.ending = ""  # name of the signal that asked for the end
        self.ends_at = float("inf")
        self.measured = None  # (J,) rad
        self.measured_at = self.misplaced_since = float("inf")
        self.started = False
        self.foreign = ""
        self.bad: dict[str, int] = {}
        self.reported: tuple = ("", None)
        self.stops = self.late = self.reseats = 0
        self.last_stamp = 0  # ns
        self.last_tick = self.period_max = self.step_max = 0.0
        self.message = JointState(name=list(self.table.names))

        self.command = ros.publisher(self, topics.JOINT_COMMAND)
        ros.subscription(self, topics.MODE, self.on_mode)
        ros.subscription(self, topics.JOINT_STATES, self.on_state)
        ros.subscription(self, topics.TELEOP_TARGETS, self.on_teleop)
        ros.subscription(self, topics.ACTION_CHUNK, self.on_chunk)
        self.outlet = RealtimePublisher(ros.sender(self.command), LATE_S, name="commands")
        self.diagnostics = ros.Diagnostics(self, self.report, realtime=True)
        # Steady clock: with the node's clock a step of the system clock backwards would stop the loop.
        ros.timer(self, timing.CONTROL_PERIOD_S, self.tick)
        ros.timer(self, 0.5, self.look_for_foreign_publishers)
        # Camera, recorder and learning on the same cores must not delay the 100 Hz loop.
        priority = raise_priority(realtime=p.realtime, nice=p.nice)
        if not priority and (p.realtime or p.nice):
            self.get_logger().warning(
                "may not raise its priority (needs root, CAP_SYS_NICE or an rtprio limit); periods may come late"
            )
        guard = f"on, {len(self.guard.clearance.pairs)} pairs" if self.guard else "OFF"
        self.get_logger().info(f"{NO_STATE}; priority: {priority or 'as others'}; guard {guard}")

    def look_for_foreign_publishers(self) -> None:
        if self.count_publishers(self.command.topic_name) <= 1:
            self.foreign = ""
            return
        others = ros.publisher_names(self, self.command.topic_name)
        if self.get_fully_qualified_name() in others:
            others.remove(self.get_fully_qualified_name())
        self.foreign = f"{FOREIGN_PUBLISHER}: {', '.join(others)}"

    def count_bad(self, kind: str, error: Exception) -> None:
        self.bad[kind] = self.bad.get(kind, 0) + 1
        self.get_logger().warning(f"dropped a {kind}: {error}", throttle_duration_sec=5.0)

    def on_mode(self, msg) -> None:
        try:
            mode = ros.mode_of(msg)
        except ValueError as error:
            return self.count_bad("mode", error)
        self.source.on_mode(mode, time.monotonic(), msg.timestamp, ros.mode_session(msg))

    def on_state(self, msg) -> None:
        try:
            q = self.reader.position(msg)
            self.check_finite(q, "robot state")
        except ValueError as error:
            return self.count_bad("robot state", error)
        now, stamp_ns = time.monotonic(), messages.stamp_ns(msg.header.stamp)
        if self.check.repeats(stamp_ns):
            return self.source.on_repeated_state(now)
        age = self.robot_clock.age_s(stamp_ns, ros.now_ns(), now)
        self.latencies["robot"].add(age, now)
        fault = self.check.fault(q, age, now)
        self.source.on_state(now, fault)
        if not fault or fault.startswith(state_check.JUMPED):  # where it jumped to is where it says it is
            self.measured, self.measured_at = q, now

    def on_teleop(self, msg) -> None:
        try:
            q = self.teleop_reader.position(msg)
            self.limiter.check(q)
        except ValueError as error:
            return self.count_bad("teleop target", error)
        now = time.monotonic()
        age = self.teleop_clock.age_s(messages.stamp_ns(msg.header.stamp), ros.now_ns(), now)
        self.latencies["dds"].add(age, now)
        self.source.on_operator(q, now, msg.header.frame_id)

    def on_chunk(self, msg) -> None:
        try:
            positions, times = self.chunk_reader.chunk(msg)
            self.limiter.check(positions)
            plan = messages.Plan.from_text(msg.header.frame_id)
            now = time.monotonic()
            age = self.policy_clock.age_s(messages.stamp_ns(msg.header.stamp), ros.now_ns(), now)
            refusal = self.source.on_chunk(positions, times, age, now, plan)
        except ValueError as error:
            return self.count_bad("action chunk", error)
        if refusal:
            self.get_logger().warning(f"refused {refusal}", throttle_duration_sec=1.0)

    def check_finite(self, q, what: str) -> None:
        missing = [name for name, value in zip(self.table.names, q) if value != value or abs(value) == float("inf")]
        if missing:
            raise ValueError(f"the {what} misses {len(missing)} joints, first {missing[0]!r}")

    def tick(self) -> None:
        """One control period. A late timer still advances the filter by one period, so positions stay continuous."""
        now = time.monotonic()
        if not self.started:
            if self.ending:
                raise KeyboardInterrupt
            if self.measured is None:
                return self.announce(NO_STATE)
            self.reset(self.measured)
            self.started = True
        stalled = False
        if self.last_tick:
            period = now - self.last_tick
            if period < 0.5 * timing.CONTROL_PERIOD_S:
                return  # the timer catches up after a late period; two steps at once would double the robot's speed
            self.period_max = max(self.period_max, period)
            self.late += period > 2.0 * timing.CONTROL_PERIOD_S
            stalled = period > STALL_S
        self.last_tick = now
        target, velocity = (None, None) if stalled else self.source.target(now)
        if self.ending:
            target, self.source.reason = None, f"ending on {self.ending}: the robot stops and is held"
        if self.foreign:
            target, self.source.reason = None, self.foreign
        if self.outlet.blocked_s() > timing.COMMANDS_CEASE_S:  # the robot has stopped by itself: be at rest with it
            target, self.source.reason = None, BLOCKED
        if target is None or self.source.source is not Source.OPERATOR:
            self.approach.reset()
        else:
            target, velocity = self.approach.follow(target, velocity)
        if self.source.mode is Mode.IDLE and not self.ending:
            self.reseat(now)
        if self.guard is None:
            q = self.limiter.step(target, velocity)
        else:
            q = self.guard.step(self.limiter, target, velocity)
        messages.fill_joint_state(self.message, self.table, self.stamp(), q, self.limiter.velocity, self.session)
        self.outlet.offer(ros.serialize(self.message))
        if target is not None and self.source.source is Source.OPERATOR and self.source.operator.at > self.answered_at:
            self.answered_at = self.source.operator.at
            self.latencies["filter"].add(time.monotonic() - self.answered_at, now)
        self.step_max = max(self.step_max, time.monotonic() - now)
        if self.ending and self.limiter.at_rest and (now > self.ends_at or now - self.measured_at > LEFT_S):
            raise KeyboardInterrupt  # leaves the executor with the context still valid
        if not stalled:
            self.announce(self.source.reason)

    def stamp(self) -> int:
        """ns since the epoch: now, but at least a period after the last one, so that differences by stamp are the
        filter's own.

        A jittering timer puts stamps less than a period ahead of the clock; farther away, the clock was stepped and is
        followed.
        """
        now = ros.now_ns()
        due = self.last_stamp + round(timing.CONTROL_PERIOD_S * 1e9)
        self.last_stamp = due if 0 < due - now < 5e7 else now
        return self.last_stamp

    def reset(self, q) -> None:
        q = self.limiter.reset(q)
        if self.guard is not None:
            self.guard.reset(q)

    def following_error_rad(self) -> float:
        """Of the joint that is farthest from its command; a length counts as `joints.METRES_PER_RAD` says."""
        return float((abs(self.measured - self.limiter.position) * self.table.in_rad).max())

    def reseat(self, now: float) -> None:
        """In IDLE, at rest, take the measured pose if the robot is elsewhere: it was reset or moved, and must not be
        pulled back.
        """
        apart = self.following_error_rad() > RESEAT_RAD and now - self.measured_at <= timing.STATE_MISSING_S
        if not (apart and self.limiter.at_rest):
            self.misplaced_since = float("inf")
            return
        self.misplaced_since = min(self.misplaced_since, now)
        if now - self.misplaced_since >= RESEAT_AFTER_S:
            self.reset(self.measured)
            self.reseats += 1
            self.misplaced_since = float("inf")

    def announce(self, reason: str) -> None:
        """A changed reason or mode goes to /diagnostics and the log at once, not with the next second."""
        if (reason, self.source.mode) == self.reported:
            return
        self.reported = (reason, self.source.mode)
        level, message = self.state()
        if level >= command_source.ERROR:
            self.stops += 1
            self.get_logger().warning(message)
        else:
            self.get_logger().info(message)
        self.diagnostics.publish()

    def state(self) -> tuple[int, str]:
        """(level, named reason)."""
        if self.foreign:
            return command_source.ERROR, self.foreign
        if not self.started:
            return command_source.WARN, NO_STATE
        return self.source.level, self.source.reason

    def report(self):
        """(level, message, values) for /diagnostics. The message begins with the named reason."""
        level, message = self.state()
        if not self.started:
            return level, message, {"ready": "false", "reason": message}
        values = {
            "ready": "true",
            "mode": "none" if self.source.mode is None else self.source.mode.name,
            "mode_ns": self.source.mode_ns,
            "supervisor": self.source.supervisor,
            "reason": message,
            "following_error_rad": f"{self.following_error_rad():.3f}",
            "dropped": sum(self.bad.values()) + self.source.old_chunks,
            "old_chunks": self.source.old_chunks,
            "clock_suspect_chunks": self.source.chunk.clock_suspect,
            "faults": self.stops,
            "reseats": self.reseats,
            "late_periods": self.late,
            "period_max_ms": f"{self.period_max * 1e3:.1f}",
            "step_max_ms": f"{self.step_max * 1e3:.2f}",
            "unsent_commands": self.outlet.late + self.outlet.replaced + self.outlet.missed,
            "send_max_ms": f"{self.outlet.send_max_s * 1e3:.1f}",
        }
        for stage in self.latencies.values():
            values.update(stage.values(time.monotonic()))
        values.update({f"dropped {kind}": count for kind, count in self.bad.items()})
        values.update({f"refused {name}": count for name, count in self.source.refused_chunks.items()})
        values.update({f"dropped target, {kind}": count for kind, count in self.limiter.dropped.items() if count})
        if self.guard is not None:
            (a, b), distance = self.guard.worst
            values.update(guard_active=self.guard.active, guard_pair=f"{a}, {b}", guard_distance_m=f"{distance:.3f}")
            if self.guard.active and level == command_source.OK:
                level, message = command_source.WARN, f"{message}; slowed before contact of {a} and {b}"
        self.period_max = self.step_max = self.outlet.send_max_s = 0.0
        return level, message, values

    def end_on_signals(self) -> None:
        """SIGINT and SIGTERM run the stop law and hold; a second one ends the node as soon as the robot is at rest."""

        def end(number, _frame):
            self.ends_at = -float("inf") if self.ending else time.monotonic() + HOLD_AT_MOST_S
            self.ending = signal.Signals(number).name

        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)

    def close(self) -> None:
        self.outlet.close()
        self.diagnostics.close()


def make() -> CommandFilterNode:
    node = CommandFilterNode()
    node.end_on_signals()
    return node


def main() -> int:
    return ros.spin(make, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
