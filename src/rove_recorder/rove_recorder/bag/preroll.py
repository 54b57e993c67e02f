# SPDX-License-Identifier: Apache-2.0
"""How far back the messages before an episode belong to its scene: a reset or a re-seated robot shows as a jump no
limit allows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rove_contract import messages, topics
from rove_contract.timing import CONTROL_PERIOD_S
from rove_description.joints import JointTable
from rove_recorder.bag.recording import RawMessage
from rove_recorder.bag.schema import typestore

COMMAND_RATIO = 1.0 + 1e-6  # the command filter keeps the velocity limit in every period; only in IDLE it may step
# A measured joint is no filtered signal, and one lost message doubles a step; a reset moves joints by tenths of a
# radian in one period.
STATE_RATIO = 4.0


def continuous_since(samples: Iterable[RawMessage], table: JointTable) -> int:
    """ns: all joint commands and states from here on (log_ns >= it) form one continuous motion; 0 when all of them do.

    samples: messages in the order of log_ns, any topics. Messages that cannot be read count as a jump.
    """
    since = 0
    for name, ratio in ((topics.JOINT_COMMAND.name, COMMAND_RATIO), (topics.JOINT_STATES.name, STATE_RATIO)):
        reader, last = messages.JointReader(table), None
        step = ratio * table.limits.velocity * CONTROL_PERIOD_S
        for sample in samples:
            if sample.topic != name:
                continue
            try:
                q = reader.position(typestore().deserialize_cdr(sample.data, topics.BY_NAME[name].type))
            except (
                Exception
            ):  # rosbags raises many kinds for damaged bytes, and what cannot be read cannot be vouched for
                q = None
            if q is None or (last is not None and (np.abs(q - last) > step).any()):
                since = max(since, sample.log_ns)
            last = q
    return since
