# SPDX-License-Identifier: Apache-2.0
import numpy as np

from rove_bringup.bag_audit import BagAudit, command_velocity_ratio
from rove_bringup.demo_report import human_time
from rove_description import joints
from rove_learning.report.statistics import intervention_fraction

TABLE = joints.load()
PERIOD_NS = 10_000_000


def commands(steps_over_limit):
    """Two samples; head_yaw moves `steps_over_limit` times what its velocity limit allows in one period."""
    q = np.zeros((2, len(TABLE)))
    q[1, 0] = steps_over_limit * TABLE.limits.velocity[0] * 0.01
    return q


def test_a_command_above_its_velocity_limit_is_found_and_named():
    ratio, joint = command_velocity_ratio(commands(1.5), [0, PERIOD_NS], TABLE)
    assert abs(ratio - 1.5) < 1e-9 and joint == "head_yaw"


def test_a_lost_sample_is_not_read_as_double_speed_and_a_repeated_stamp_not_as_infinite():
    assert abs(command_velocity_ratio(commands(2.0), [0, 2 * PERIOD_NS], TABLE)[0] - 1.0) < 1e-9
    assert abs(command_velocity_ratio(commands(1.0), [5, 5], TABLE)[0] - 1.0) < 1e-9


def test_intervention_fraction_counts_intervened_episodes_without_their_pauses():
    timeline = (
        ("IDLE", 0.0),
        ("ROLLOUT", 1.0),
        ("PAUSED", 5.0),
        ("ADAPTATION", 8.0),
        ("RECOVERY", 10.0),
        ("IDLE", 12.0),
    )
    intervened = BagAudit(None, {}, (), timeline, 0.0, "", 13.0, None)
    alone = BagAudit(None, {}, (), (("ROLLOUT", 0.0), ("IDLE", 9.0)), 0.0, "", 9.0, None)
    fraction = intervention_fraction([human_time(intervened), human_time(alone)])
    assert fraction == 0.5
    assert intervention_fraction([human_time(alone)]) == 0.0
