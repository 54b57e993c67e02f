# SPDX-License-Identifier: Apache-2.0
"""What a person can correct of an episode: the fields, their types, and which values an episode may have.

Labels: t_r, outcome, excluded. Edits: task (its text), start and stop (the first frame that is kept and the one behind
the last), split (the first frame of the second of two episodes), deleted. Frames are numbered as they were exported.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rove_contract.modes import Outcome, Stage

NUMBERS, SWITCHES = ("t_r", "start", "stop", "split"), ("excluded", "deleted")
CUTS = ("start", "stop", "split")  # edits of which frames belong to which episode
EDITS = ("task", *CUTS, "deleted")
FIELDS = ("t_r", "outcome", "excluded", *EDITS)
INTERVENTION = (int(Stage.ADAPTATION), int(Stage.RECOVERY))
LONGEST_TASK = 1000  # characters
SHORTEST = 2  # frames of an episode

Value = int | bool | str


class CorrectionError(ValueError):
    """A correction is not possible, or the file cannot be read; the message says what was expected."""


def exported(row: Mapping) -> dict:
    """A row of meta/episodes with the values that its edits had before any."""
    length = row.get("length", 0)
    task = next(iter(row.get("tasks") or ()), "")
    return {**row, "task": task, "start": 0, "stop": length, "split": -1, "deleted": False}


def typed(field: str, value) -> Value:
    """A value as it comes from JSON, as the field's type: outcomes by name or number. Raises CorrectionError."""
    if field in SWITCHES:
        if not isinstance(value, bool):
            raise CorrectionError(f"{field} is true or false, not {value!r}")
        return value
    if field == "outcome":
        names = [outcome.name.lower() for outcome in Outcome]
        if isinstance(value, str) and value.lower() in names:
            return int(Outcome[value.upper()])
        if type(value) is int and value in list(Outcome):
            return value
        raise CorrectionError(f"the outcome is one of {', '.join(names)}, not {value!r}")
    if field == "task":
        text = value.strip() if isinstance(value, str) else ""
        if not 0 < len(text) <= LONGEST_TASK or not text.isprintable():
            raise CorrectionError(f"the task is a line of 1 to {LONGEST_TASK} characters, not {str(value)[:40]!r}")
        return text
    if field not in NUMBERS:
        raise CorrectionError(f"{field!r} cannot be corrected; {', '.join(FIELDS)} can")
    if type(value) is not int:
        raise CorrectionError(f"{field} is the number of a frame, not {value!r}")
    return value


def check(field: str, new, *, stage: np.ndarray, takeover: int) -> Value:
    """`new` as the field's type, if an episode with these exported stages (T,) and takeover frame may have it. Raises
    CorrectionError.
    """
    new = typed(field, new)
    if field != "t_r":
        return new
    if takeover < 0:
        raise CorrectionError("nobody took over in this episode, so it has no end of adaptation (t_r)")
    if new == -1:
        return new
    last = len(stage) - 1
    if not 0 <= new <= last:
        raise CorrectionError(f"frame {new} is outside the episode, which has frames 0 to {last}")
    if new <= takeover:
        raise CorrectionError(f"t_r must come after the takeover at frame {takeover}; frame {new} does not")
    if new == last:
        raise CorrectionError(
            f"t_r must come before the last frame ({last}), whose reward is the outcome's (paper, eq. 2)"
        )
    if stage[new] not in INTERVENTION or stage[new - 1] not in INTERVENTION:
        raise CorrectionError(
            f"t_r must lie inside an intervention; at frame {new} the stage is {Stage(stage[new]).name.lower()}"
            + (", its first frame" if stage[new] in INTERVENTION else "")
        )
    return new


def check_cut(field: str, new: int, now: Mapping) -> None:
    """Whether an episode may be cut so. now: its values as corrected so far. Raises CorrectionError."""
    values = {key: now[key] for key in CUTS} | {field: new}
    start, stop, split, length = *(values[key] for key in CUTS), now["length"]
    if not 0 <= start < stop <= length or stop - start < SHORTEST:
        raise CorrectionError(
            f"an episode of {length} frames can keep frames {start} to {stop - 1} only if those are {SHORTEST} or more "
            f"of its frames 0 to {length - 1}"
        )
    if split != -1 and not start + SHORTEST <= split <= stop - SHORTEST:
        raise CorrectionError(
            f"a split at frame {split} must leave {SHORTEST} frames or more on both sides of it, of the frames {start} "
            f"to {stop - 1} that are kept"
        )


def parts(row: Mapping) -> list[tuple[int, int]]:
    """The episodes that one is after its edits: (first frame, frame behind the last) of each; row: of `exported`,
    corrected.
    """
    if row["deleted"]:
        return []
    start, stop, split = (row[key] for key in CUTS)
    return [(start, stop)] if split < 0 else [(start, split), (split, stop)]
