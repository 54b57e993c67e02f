# SPDX-License-Identifier: Apache-2.0
"""Depth pictures and tactile arrays come out of a dataset as they went into the bag."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from rove_contract import depth, images, topics
from rove_description import robot
from rove_learning.data.dataset import Dataset
from rove_recorder.bag.recording import RawMessage
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import quality
from rove_recorder.dataset.bake import bake
from rove_recorder.dataset.corrections import correct
from rove_recorder.dataset.merge import merge
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.dataset.shards import Shard
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import (
    MS,
    SIZE,
    T0,
    depth_at,
    depth_compressed,
    depth_image,
    kind,
    samples,
    touch,
    write_bag,
)

RAW, COMPRESSED = "/head/depth/image_raw", "/wrist/depth/image_rect_raw/compressedDepth"
PALM, TIP = "/left_hand/palm", "/left_hand/tip"
FOLDER = f"""
extends: iron_r01
depth:
  head: {{frame: ego, topic: {RAW}, width: {SIZE[1]}, height: {SIZE[0]}, rate_hz: 30}}
  wrist: {{frame: right_wrist, topic: {COMPRESSED}, width: {SIZE[1]}, height: {SIZE[0]}, rate_hz: 30}}
tactile:
  palm: {{topic: {PALM}, size: 6, rate_hz: 100}}
  tip: {{topic: {TIP}, size: 1, rate_hz: 100, type: std_msgs/msg/UInt16MultiArray}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "robot").mkdir()
    (tmp_path / "robot" / "robot.yaml").write_text(FOLDER)
    return tmp_path / "robot"


def palm(i):
    return np.arange(6) * 0.25 + i


def episode(name="e", start=T0, **more):
    """`samples` with the sensors: depth with every picture, touch with every joint state, numbered as these."""
    found, i, pictures = [], 0, 0
    for sample in samples(name, start=start, **more):
        found.append(sample)
        at = sample.log_ns
        if sample.topic == topics.JOINT_STATES.name:
            found.append(RawMessage(PALM, at, at, touch(palm(i)), i + 1))
            found.append(RawMessage(TIP, at, at, touch([i], "UInt16"), i + 1))
            i += 1
        elif sample.topic == topics.EGO_IMAGE.name:
            found.append(RawMessage(RAW, at, at, depth_image(at, pictures), pictures + 1))
            found.append(RawMessage(COMPRESSED, at, at, depth_compressed(at, pictures), pictures + 1))
            pictures += 1
    return found


def bag_of(path, found, folder):
    sensors = robot.load(folder).sensors.by_name.values()
    return write_bag(path, found, beside=[topics.sensor(each.topic, each.type) for each in sensors])


def expected(start=T0):
    """(46,) numbers of the joint states and of the pictures at the ticks of `samples`: the last ones before each."""
    ticks = np.concatenate([np.arange(0, 1000, 50), 1700 + np.arange(0, 1300, 50)])
    sent = np.arange(-200, 3050, 10) + 0.137
    shown = sent[::3] + 2
    return [np.searchsorted(stamps, ticks, side="right") - 1 for stamps in (sent, shown)]


def check(root):
    """Every value of the dataset's first episode is the one that was sent."""
    reader = LeRobotReader(root)
    row = reader.episodes()[0]
    table = reader.episode(row, reader.sensor_columns)
    states, pictures = expected()
    np.testing.assert_array_equal(reader.tactile(table)["palm"], np.stack([palm(i) for i in states]).astype(np.float32))
    np.testing.assert_array_equal(reader.tactile(table)["tip"], states.astype(np.float32)[:, None])
    for name in ("head", "wrist"):
        shown = reader.depth(table)[name]
        np.testing.assert_array_equal([depth.decode(png) for png in shown], [depth_at(i) for i in pictures])


def test_a_bag_with_depth_and_touch_becomes_a_dataset_with_the_same_values(tmp_path, folder):
    bags = [bag_of(tmp_path / "e", episode(), folder), bag_of(tmp_path / "f", episode("f", T0 + 10**10), folder)]
    for bag in bags:  # the second is appended
        (result,) = export_bags([bag], tmp_path / "d", robot=folder, progress=False)
        assert not result.error and result.quality.flags == []
    check(tmp_path / "d")
    found = quality.read(tmp_path / "d")["e"]
    for topic, hz in ((RAW, 30), (COMPRESSED, 30), (PALM, 100), (TIP, 100)):
        assert found.rates_hz[topic] == pytest.approx(hz, rel=0.15) and found.oldest_s[topic] < 0.06
    assert found.frozen_camera_s[RAW] == 0.0 and f"{TIP} 10" in found.line()
    assert len(Dataset(tmp_path / "d")) == 92, "training reads the dataset as before"


def test_what_was_stored_is_depth_and_touch_as_lerobot_reads_them(tmp_path, folder):
    export_bags([bag_of(tmp_path / "e", episode(), folder)], tmp_path / "d", robot=folder, progress=False)
    info = json.loads((tmp_path / "d" / layout.INFO).read_text())
    feature = info["features"]["observation.depth.head"]
    assert feature["dtype"] == "image" and feature["shape"] == [*SIZE, 1]
    assert feature["info"] == {"is_depth_map": True, "depth_unit": "mm"}
    assert info["features"]["observation.tactile.palm"] == {"dtype": "float32", "shape": [6], "names": None}
    table = pq.read_table(tmp_path / "d" / layout.Slot().path(layout.DATA))
    hints = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert hints["observation.depth.head"] == {"_type": "Image"}
    png = table["observation.depth.head"][0].as_py()["bytes"]
    assert png[24:26] == b"\x10\x00"  # one channel of 16 bits: LeRobot makes float32 (1, H, W) in mm of it
    np.testing.assert_array_equal(depth.decode(png), depth_at(expected()[1][0]))
    stats = json.loads((tmp_path / "d" / layout.STATS).read_text())["observation.depth.head"]
    assert np.shape(stats["mean"]) == (1, 1, 1) and 500 < stats["mean"][0][0][0] < 3000, "mm"


def test_compressed_depth_is_stored_byte_by_byte():
    png = depth.encode(depth_at(3))
    sent = depth.fill_compressed(kind("sensor_msgs/msg/CompressedImage")(None, "", None), png)
    assert depth.png_of(sent) == png


def test_shards_and_corrections_keep_depth_and_touch(tmp_path, folder):
    bag_of(tmp_path / "bags" / "e", episode(), folder)
    bag_of(tmp_path / "bags" / "f", episode("f", T0 + 10**10), folder)
    for i in (1, 2):
        export_bags([tmp_path / "bags"], tmp_path / "d", robot=folder, shard=Shard(i, 2), progress=False)
    merge(tmp_path / "d", progress=False)
    check(tmp_path / "d")
    merged = LeRobotReader(tmp_path / "d")
    stage = merged.labels(merged.episode(merged.episodes()[1], ["stage"]), "stage")
    for field, frame in (("start", 5), ("stop", 25)):
        correct(tmp_path / "d", merged.episodes()[1], stage, field, frame, "op")
    bake(tmp_path / "d", tmp_path / "baked", progress=False)
    check(tmp_path / "baked")
    reader = LeRobotReader(tmp_path / "baked")
    row = reader.episodes()[1]
    assert row["length"] == 20
    shown = reader.depth(reader.episode(row, reader.sensor_columns))["wrist"]
    np.testing.assert_array_equal([depth.decode(png) for png in shown], [depth_at(i) for i in expected()[1][5:25]])


def test_a_bag_without_a_sensor_is_refused_by_its_topic_and_exported_without_it(tmp_path, folder):
    found = [sample for sample in episode() if sample.topic not in (RAW, TIP)]
    bag = bag_of(tmp_path / "e", found, folder)
    (result,) = export_bags([bag], tmp_path / "d", robot=folder, progress=False)
    assert f"no message on {RAW}" in result.error
    (result,) = export_bags([bag], tmp_path / "d", robot=folder, sensors=["palm"], progress=False)
    assert not result.error
    assert LeRobotReader(tmp_path / "d").sensor_columns == ["observation.tactile.palm"]
    with pytest.raises(layout.DatasetError, match="no sensor elbow; it has head, wrist, palm, tip"):
        export_bags([bag], tmp_path / "x", robot=folder, sensors=["elbow"], progress=False)


def test_the_report_counts_a_depth_camera_that_stands_still_and_a_hand_that_is_silent(tmp_path, folder):
    def broken(sample):
        if sample.topic == RAW:
            return replace_data(sample, depth_image(sample.publish_ns, 1))
        return sample

    found = [broken(s) for s in episode() if s.topic != PALM or not T0 + 300 * MS < s.log_ns < T0 + 800 * MS]
    (result,) = export_bags([bag_of(tmp_path / "e", found, folder)], tmp_path / "d", robot=folder, progress=False)
    assert any(flag.startswith(f"{RAW} showed the same picture for") for flag in result.quality.flags)
    assert any(flag.startswith(f"{PALM} was up to 0.") for flag in result.quality.flags)


def replace_data(sample, data):
    return sample._replace(data=data)


WRONG = {
    "another size": (RAW, lambda s: message(np.zeros((20, 30), np.uint16)), r"depth picture of head is \(20, 30\)"),
    "metres": (
        RAW,
        lambda s: message(np.zeros(SIZE, np.uint16), "32FC1"),
        "expected a depth picture of encoding 16UC1",
    ),
    "fewer rows": (RAW, lambda s: message(np.zeros(SIZE, np.uint16), rows=SIZE[0] + 1), "declares 49 x 64 px"),
    "fewer values": (PALM, lambda s: touch(np.zeros(5)), "expected 6 tactile values, got 5"),
    "no number": (PALM, lambda s: touch(np.full(6, np.nan)), "tactile value 0 is not finite"),
}


def message(picture, encoding="16UC1", rows=None):
    from rove_recorder.testing.synthetic import cdr, stamp

    header = kind("std_msgs/msg/Header")(stamp(T0), "ego")
    height, width = picture.shape
    data = picture.reshape(-1).view(np.uint8)
    return cdr(
        kind("sensor_msgs/msg/Image")(header, rows or height, width, encoding, 0, 2 * width, data),
        "sensor_msgs/msg/Image",
    )


@pytest.mark.parametrize("name", WRONG)
def test_a_message_that_is_not_what_the_robot_says_is_refused_by_name(tmp_path, folder, name):
    topic, data, reason = WRONG[name]
    found = [replace_data(s, data(s)) if s.topic == topic else s for s in episode()]
    (result,) = export_bags([bag_of(tmp_path / "e", found, folder)], tmp_path / "d", robot=folder, progress=False)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(result.error)


@pytest.mark.parametrize(
    "cut", [b"", b"\x89PNG", depth.encode(depth_at(0))[:-20], images.encode_png(np.zeros((9, 9, 3), np.uint8))]
)
def test_no_depth_picture_is_refused(cut):
    with pytest.raises(images.ImageError):
        depth.check(cut)


def test_a_big_endian_picture_with_padded_rows_is_read(tmp_path):
    given = depth_at(0)
    rows = np.zeros((SIZE[0], SIZE[1] + 3), ">u2")
    rows[:, : SIZE[1]] = given
    sent = kind("sensor_msgs/msg/Image")(
        None, *SIZE, "16UC1", 1, 2 * rows.shape[1], np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
    )
    np.testing.assert_array_equal(depth.decode(depth.png_of(sent)), given)


def test_faults_of_the_description_are_named(folder):
    text = FOLDER.replace("rate_hz: 30}", "rate_hz: 300}", 1).replace("size: 6", "size: 0").replace(TIP, PALM)
    text = text.replace("UInt16MultiArray", "Float32").replace("frame: right_wrist", "frame: nowhere")
    (folder / "robot.yaml").write_text(text)
    with pytest.raises(robot.RobotError) as refused:
        robot.load(folder)
    for reason in (
        "depth.head.rate_hz: expected a number from 1 to 240, got 300",
        "depth.wrist.frame: expected the name of a camera of the model, got 'nowhere'",
        "tactile.palm.size: expected a number from 1 to 100000, got 0",
        "tactile.tip.type: expected one of std_msgs/msg/Float32MultiArray",
        f"tip: expected a topic of its own, got {PALM}, which palm has",
    ):
        assert reason in str(refused.value)


def test_features_of_others_under_these_names_are_no_depth_and_no_touch_of_ours(tmp_path, folder):
    export_bags([bag_of(tmp_path / "e", episode(), folder)], tmp_path / "d", robot=folder, progress=False)
    path = tmp_path / "d" / layout.INFO
    given = json.loads(path.read_text())
    depth_key, touch_key = layout.DEPTH + "head", layout.TACTILE + "palm"
    for key, change in (
        (depth_key, {"dtype": "video"}),
        (depth_key, {"info": None}),
        (depth_key, {"shape": [48, 64]}),
        (touch_key, {"shape": [2, 3]}),
        (touch_key, {"dtype": "int64"}),
    ):
        info = json.loads(json.dumps(given))
        info["features"][key] |= change
        path.write_text(json.dumps(info))
        assert key not in LeRobotReader(tmp_path / "d").sensor_columns, change
    info = json.loads(json.dumps(given))
    info["features"][layout.TACTILE + "../x"] = info["features"].pop(touch_key)
    path.write_text(json.dumps(info))
    with pytest.raises(layout.DatasetError, match="camera"):
        LeRobotReader(tmp_path / "d")
