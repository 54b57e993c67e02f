# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import numpy as np
import pytest

from rove_contract.modes import Mode
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import quality
from rove_recorder.export.episode_bag import EpisodeBag
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import MS, T0, TABLE, image, joint_state, q_at, samples, write_bag

STATE, COMMAND, IMAGE = STREAMS = quality.STATE, quality.COMMAND, quality.IMAGE


def replaced(found, topic, data):
    """The same samples with other content on one topic; data: (sample) -> bytes."""
    return [s._replace(data=data(s)) if s.topic == topic else s for s in found]


def without(found, topic, begin_ms, end_ms):
    return [s for s in found if s.topic != topic or not T0 + begin_ms * MS < s.log_ns < T0 + end_ms * MS]


def blocked(sample):
    q = q_at(sample.publish_ns) + 0.01
    q[TABLE.index["right_elbow"]] += 0.3
    return joint_state(sample.publish_ns, q)


SUSPICIOUS = {
    "stale": (lambda found: without(found, IMAGE, 300, 800), f"{IMAGE} was up to 0."),
    "rare": (lambda found: [s for i, s in enumerate(found) if s.topic != STATE or i % 4], f"{STATE} came at "),
    "blocked": (
        lambda found: replaced(found, COMMAND, blocked),
        "right_elbow was on average 0.30 rad from its command",
    ),
    "frozen": (
        lambda found: replaced(found, IMAGE, lambda s: image(s.publish_ns, 1)),
        "the same picture for 2.2 s while the robot moved",
    ),
    "late": (lambda found: without(found, COMMAND, -500, 200), "the first 0.20 s have no frames"),
}


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_a_suspicious_episode_is_flagged_with_the_reason_and_only_that(tmp_path, name):
    change, reason = SUSPICIOUS[name]
    _, found = EpisodeBag(write_bag(tmp_path / "e", change(samples()))).frames(TABLE, 20)
    assert any(reason in flag for flag in found.flags), found.flags
    assert all(reason in flag or "Hz instead of" in flag for flag in found.flags), found.flags


def test_a_stage_of_a_slip_of_the_hand_is_flagged(tmp_path):
    story = ((0, Mode.ROLLOUT), (1000, Mode.ADAPTATION), (1100, Mode.RECOVERY))
    _, found = EpisodeBag(write_bag(tmp_path / "e", samples(story=story))).frames(TABLE, 20)
    assert found.flags == ["the stage adaptation has only 2 frames"]
    assert found.stages == {"ROLLOUT": 20, "ADAPTATION": 2, "RECOVERY": 38}


def test_what_the_recorder_lost_and_clocks_that_differ_are_flagged(tmp_path):
    counts = {STATE: {"received": 300, "written": 290, "dropped": 10, "missed": 6, "longest_gap_s": 0.03}}
    found = EpisodeBag(write_bag(tmp_path / "e", samples()))
    custom = {"counts": json.dumps(counts), "clock_offsets": json.dumps({STATE: -0.05, IMAGE: 0.3, COMMAND: 0.001})}
    frames, _ = found.frames(TABLE, 20)
    result = quality.assess(
        table=TABLE,
        state=frames.state,
        action=frames.action,
        mode=frames.mode,
        pictures={IMAGE: frames.images},
        sensor_hz={IMAGE: 30.0},
        at_ns=found.ticks(20),
        stretches=found.stretches,
        stamps=found.stamps,
        ages_s={name: np.zeros(len(frames)) for name in STREAMS},
        complete=True,
        recorded=[custom],
    )
    assert (result.dropped, result.missed) == (10, {STATE: 6})
    for text in (
        "dropped 10 messages of /joint_states",
        "6 messages of /joint_states never",
        "50 ms before it was sent",
        "300 ms after",
    ):
        assert any(text in flag for flag in result.flags), result.flags
    assert len(result.flags) == 4


def test_the_report_stands_in_the_dataset_and_grows_with_it(tmp_path):
    good = write_bag(tmp_path / "good", samples("good"))
    gap = write_bag(tmp_path / "gap", without(samples("gap", start=T0 + 10**10), "none", 0, 0)[:600])
    export_bags([good], tmp_path / "d", progress=False)
    assert quality.read(tmp_path / "d")["good"].flags == []
    (exported,) = export_bags([gap], tmp_path / "d", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "d" / layout.QUALITY).read_text().splitlines()]
    assert [(line["episode_index"], line["episode_id"]) for line in lines] == [(0, "good"), (1, "gap")]
    assert quality.read(tmp_path / "d")["gap"].flags == exported.quality.flags != []
    command = [sys.executable, "-m", "rove_recorder.dataset.quality", str(tmp_path / "d")]
    everything, flagged = (
        subprocess.run([*command, *more], capture_output=True, text=True, timeout=30) for more in ([], ["--flagged"])
    )
    assert "good: 2.3 s [rollout 20" in everything.stdout
    assert "good" not in flagged.stdout
    assert "outcome unknown" in flagged.stdout
    assert "2 episodes, 2 with a report, 1 suspicious" in flagged.stdout


def test_a_dataset_without_a_report_is_no_error_and_a_damaged_report_is(tmp_path):
    export_bags([write_bag(tmp_path / "e", samples())], tmp_path / "d", progress=False)
    (tmp_path / "d" / layout.QUALITY).write_text("{not json\n")
    with pytest.raises(layout.DatasetError, match="line 1 is no quality report"):
        quality.read(tmp_path / "d")
    (tmp_path / "d" / layout.QUALITY).unlink()
    assert quality.read(tmp_path / "d") == {}
