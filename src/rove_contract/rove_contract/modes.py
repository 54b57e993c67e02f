# SPDX-License-Identifier: Apache-2.0
"""Modes of a session and the one table that decides between them (DESIGN: they are the paper's stages, sec. 3.1)."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """What the robot is doing; `to_wire` of it goes into lifecycle_msgs/State."""

    IDLE = 0
    ROLLOUT = 1
    PAUSED = 2
    ADAPTATION = 3
    RECOVERY = 4
    DEMONSTRATION = 5
    ESTOP = 6


class Trigger(IntEnum):
    """A requested transition; `to_wire` of it goes into lifecycle_msgs/Transition; the service has its name, in lower
    case.
    """

    START_ROLLOUT = 1
    START_DEMONSTRATION = 2
    PAUSE = 3
    TAKEOVER = 4
    RECOVERED = 5
    RESUME = 6
    SUCCEED = 7
    FAIL = 8
    ABORT = 9
    ESTOP = 10
    RESET = 11

    @property
    def service(self) -> str:
        return self.name.lower()


class Stage(IntEnum):
    """Stage of a dataset frame; pauses are removed, so they have no stage (paper, sec. 3.1)."""

    ROLLOUT = 0
    ADAPTATION = 1
    RECOVERY = 2
    DEMONSTRATION = 3
    HUMAN_VIDEO = 4


class Outcome(IntEnum):
    """How an episode ended; ABORTED episodes are kept but not trained on."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    ABORTED = 3


class Source(IntEnum):
    """Who drove the robot in a dataset frame."""

    NONE = 0
    POLICY = 1
    OPERATOR = 2


# Modes in which an episode is running (and its bag is open).
OPERATOR_DRIVES = frozenset({Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION})  # the operator moves the robot
ACTIVE = frozenset({Mode.ROLLOUT, Mode.PAUSED, Mode.ADAPTATION, Mode.RECOVERY, Mode.DEMONSTRATION})

STAGE_OF = {
    Mode.ROLLOUT: Stage.ROLLOUT,
    Mode.ADAPTATION: Stage.ADAPTATION,
    Mode.RECOVERY: Stage.RECOVERY,
    Mode.DEMONSTRATION: Stage.DEMONSTRATION,
}
SOURCE_OF = {
    Mode.ROLLOUT: Source.POLICY,
    Mode.ADAPTATION: Source.OPERATOR,
    Mode.RECOVERY: Source.OPERATOR,
    Mode.DEMONSTRATION: Source.OPERATOR,
}
OUTCOME_OF = {
    Trigger.SUCCEED: Outcome.SUCCESS,
    Trigger.FAIL: Outcome.FAILURE,
    Trigger.ABORT: Outcome.ABORTED,
    Trigger.ESTOP: Outcome.ABORTED,
}

TRANSITIONS: dict[tuple[Mode, Trigger], Mode] = {
    (Mode.IDLE, Trigger.START_ROLLOUT): Mode.ROLLOUT,
    (Mode.IDLE, Trigger.START_DEMONSTRATION): Mode.DEMONSTRATION,
    (Mode.ROLLOUT, Trigger.PAUSE): Mode.PAUSED,
    (Mode.ADAPTATION, Trigger.PAUSE): Mode.PAUSED,
    (Mode.RECOVERY, Trigger.PAUSE): Mode.PAUSED,
    (Mode.PAUSED, Trigger.TAKEOVER): Mode.ADAPTATION,
    (Mode.PAUSED, Trigger.RESUME): Mode.ROLLOUT,
    (Mode.ADAPTATION, Trigger.RECOVERED): Mode.RECOVERY,
    **{(mode, trigger): Mode.IDLE for mode in ACTIVE for trigger in (Trigger.SUCCEED, Trigger.FAIL, Trigger.ABORT)},
    **{(mode, Trigger.ESTOP): Mode.ESTOP for mode in Mode},
    (Mode.ESTOP, Trigger.RESET): Mode.IDLE,
}


# The constants of lifecycle_msgs end at 15 (State) and 99 (Transition), its ids are uint8: from 200 on no tool takes a
# mode for a state of a lifecycle node. 200 itself is a transition without a trigger, the supervisor's start.
WIRE_IDS_FROM = 200


def to_wire(value: Mode | Trigger | None) -> int:
    """The id of a mode or trigger in a lifecycle_msgs message; None: of a transition that nobody requested."""
    return WIRE_IDS_FROM + (0 if value is None else int(value))


def mode_from_wire(wire_id: int) -> Mode:
    """The inverse of `to_wire`. Raises ValueError for the id of something else, e.g. of a lifecycle node's state."""
    if wire_id < WIRE_IDS_FROM:
        raise ValueError(f"{wire_id} is not the id of a mode; those begin at {WIRE_IDS_FROM}")
    return Mode(wire_id - WIRE_IDS_FROM)


class Refused(ValueError):
    """A requested transition is not allowed; the message says why and what is."""


def allowed(mode: Mode) -> tuple[Trigger, ...]:
    """Triggers that the table allows in `mode`."""
    return tuple(trigger for trigger in Trigger if (mode, trigger) in TRANSITIONS)


def next_mode(mode: Mode, trigger: Trigger) -> Mode:
    """Mode after `trigger`; raises Refused naming the triggers that are allowed instead."""
    try:
        return TRANSITIONS[mode, trigger]
    except KeyError:
        options = ", ".join(t.service for t in allowed(mode))
        raise Refused(f"{trigger.service} is not possible in {mode.name}; possible here: {options}") from None
