# SPDX-License-Identifier: Apache-2.0
"""The words and keys of the panel and of the console: what each mode means, and which key asks for which action. Pure.

The page gets this table as `controls.js`, made by `script`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

SENTENCES = {  # mode -> what it means for the people around the robot
    "IDLE": "Nobody drives. The robot holds its pose",
    "ROLLOUT": "The policy drives the robot",
    "PAUSED": "The robot holds still. Operator: align with it",
    "ADAPTATION": "Operator drives. Press Recovered at clear progress",
    "RECOVERY": "The operator drives and completes the task",
    "DEMONSTRATION": "The operator demonstrates the task",
    "ESTOP": "The robot holds. Reset when it is safe",
}
TITLES = {mode: "E-STOP" if mode == "ESTOP" else mode for mode in SENTENCES}
LIKELY = {  # mode -> the action that mostly comes next, drawn brightest
    "IDLE": "start_rollout",
    "ROLLOUT": "pause",
    "PAUSED": "takeover",
    "ADAPTATION": "recovered",
    "RECOVERY": "succeed",
    "DEMONSTRATION": "succeed",
    "ESTOP": "reset",
}


@dataclass(frozen=True)
class Control:
    """key: as it is typed. name: on the button. purpose: what pressing does, in few words."""

    key: str
    name: str
    purpose: str = ""


CONTROLS = {  # action of the supervisor -> its control
    "estop": Control(" ", "E-STOP"),
    "start_rollout": Control("1", "Start rollout", "the policy drives"),
    "start_demonstration": Control("2", "Start demonstration", "the operator drives"),
    "pause": Control("p", "Pause", "the robot holds still"),
    "takeover": Control("t", "Take over", "the operator drives"),
    "force_takeover": Control("T", "Force takeover"),
    "recovered": Control("r", "Recovered", "marks t_r"),
    "resume": Control("u", "Resume", "back to the policy"),
    "succeed": Control("s", "Success", "ends the episode"),
    "fail": Control("f", "Failure", "ends the episode"),
    "abort": Control("A", "Abort", "kept, not trained on"),
    "reset": Control("0", "Reset", "after an e-stop"),
}
SWITCHES = {  # what is switched or chosen, and is no action of the mode machine
    "sound": Control("m", "Sound"),
    "auto_pause": Control("O", "Auto-pause"),
    "dead_man": Control("D", "Dead man"),
    "start_stage": Control("n", "Start stage"),
}
ACTION_OF = {control.key: action for action, control in CONTROLS.items()}
SWITCH_OF = {control.key: name for name, control in SWITCHES.items()}


def script() -> str:
    """`controls.js`: the same tables as constants."""
    tables = {
        "SENTENCES": SENTENCES,
        "TITLES": TITLES,
        "LIKELY": LIKELY,
        "CONTROLS": {name: asdict(control) for name, control in (CONTROLS | SWITCHES).items()},
    }
    return "".join(f"export const {name} = {json.dumps(table)};\n" for name, table in tables.items())
