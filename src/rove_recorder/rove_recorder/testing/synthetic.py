# SPDX-License-Identifier: Apache-2.0
"""Bags of synthetic episodes without ROS, for tests and benchmarks: CDR by rosbags, stamps by rule, so that every
sample is known.
"""

from pathlib import Path

import numpy as np

from rove_contract import depth, images, topics
from rove_contract import episode as episodes
from rove_contract.modes import Mode, Outcome, to_wire
from rove_description import joints
from rove_recorder.bag.bag import BagTopic, BagWriter
from rove_recorder.bag.recording import RawMessage
from rove_recorder.bag.schema import typestore

TABLE = joints.load()
STORE = typestore()
SIZE = (48, 64)
T0 = 1_700_000_000_000_000_000
MS = 1_000_000


def kind(name):
    return STORE.types[name]


def stamp(ns):
    return kind("builtin_interfaces/msg/Time")(*divmod(ns, 1_000_000_000))


def cdr(message, name):
    return bytes(STORE.serialize_cdr(message, name))


def q_at(ns):
    """(50,) rad: the joints' motion; tells the time of a sample to a nanosecond's worth of radians."""
    return 0.3 * np.sin((ns - T0) * 1e-9 + 0.1 * np.arange(50))


def joint_state(ns, q=None):
    header = kind("std_msgs/msg/Header")(stamp(ns), "")
    message = kind("sensor_msgs/msg/JointState")(
        header, list(TABLE.names), np.asarray(q_at(ns) if q is None else q), np.zeros(50), np.empty(0)
    )
    return cdr(message, "sensor_msgs/msg/JointState")


def picture(i):
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    return np.stack([(x * 3 + i * 5) % 256, y * 4, np.full(SIZE, (i * 7) % 256)], axis=-1).astype(np.uint8)


def image(ns, i):
    header = kind("std_msgs/msg/Header")(stamp(ns), "ego")
    jpeg = np.frombuffer(images.encode_jpeg(picture(i), 90), np.uint8)
    return cdr(kind("sensor_msgs/msg/CompressedImage")(header, "jpeg", jpeg), "sensor_msgs/msg/CompressedImage")


def depth_at(i, size=SIZE):
    """(H, W) uint16 mm: depth picture number i, with a corner in which nothing was measured."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    return np.where((y < 8) & (x < 8), 0, 500 + 37 * y + 11 * x + i).astype(np.uint16)


def depth_image(ns, i):
    """Raw, as most drivers send it."""
    header, picture = kind("std_msgs/msg/Header")(stamp(ns), "ego"), depth_at(i)
    data = picture.reshape(-1).view(np.uint8)
    message = kind("sensor_msgs/msg/Image")(header, *SIZE, "16UC1", 0, 2 * SIZE[1], data)
    return cdr(message, "sensor_msgs/msg/Image")


def depth_compressed(ns, i):
    """As compressed_depth_image_transport sends it."""
    message = kind("sensor_msgs/msg/CompressedImage")(kind("std_msgs/msg/Header")(stamp(ns), "ego"), "", None)
    depth.fill_compressed(message, depth.encode(depth_at(i)))
    message.data = np.frombuffer(message.data, np.uint8)
    return cdr(message, "sensor_msgs/msg/CompressedImage")


def touch(values, number="Float32"):
    """A tactile array, as std_msgs/NUMBERMultiArray."""
    name, layout = f"std_msgs/msg/{number}MultiArray", kind("std_msgs/msg/MultiArrayLayout")([], 0)
    return cdr(kind(name)(layout, np.asarray(values, dtype=number.lower())), name)


def mode(previous, now, ns):
    state, transition = kind("lifecycle_msgs/msg/State"), kind("lifecycle_msgs/msg/Transition")
    event = kind("lifecycle_msgs/msg/TransitionEvent")(
        ns,
        transition(to_wire(None), ""),
        state(to_wire(previous), previous.name),
        state(to_wire(now), now.name),
    )
    return cdr(event, topics.MODE.type)


def status(episode):
    pair = kind("diagnostic_msgs/msg/KeyValue")
    values = [pair(key, value) for key, value in episodes.to_values(episode).items()]
    message = kind("diagnostic_msgs/msg/DiagnosticStatus")(0, f"episode/{episode.id}", episode.state, "", values)
    return cdr(message, topics.EPISODE.type)


STORY = ((0, Mode.ROLLOUT), (1000, Mode.PAUSED), (1700, Mode.ADAPTATION), (2300, Mode.RECOVERY))


def samples(
    name="e", *, start=T0, length_ms=3000, story=STORY, outcome=Outcome.SUCCESS, ended=True, lead_ms=200, **more
):
    """All samples of one episode in order; modes switch at start + ms. Streams: 100 Hz, 100 Hz, 30 Hz, from lead_ms
    before.
    """
    episode = episodes.Episode(name, "erase the whiteboard", started_ns=start, operator="op", **more)
    found = [RawMessage(topics.EPISODE.name, start - 1, start - 1, status(episode))]
    previous = Mode.IDLE
    for at, now in [*story, (length_ms, Mode.IDLE)][: None if ended else -1]:
        ns = start + at * MS
        for beat in range(2):  # the transition and a heartbeat that repeats it
            found.append(
                RawMessage(topics.MODE.name, ns + beat * 50 * MS, ns + beat * 50 * MS, mode(previous, now, ns))
            )
        previous = now
    for i, at in enumerate(range(-lead_ms, length_ms + 50, 10)):
        ns = start + at * MS + 137_000  # off the ticks' grid
        found.append(RawMessage(topics.JOINT_STATES.name, ns, ns, joint_state(ns), i + 1))
        found.append(RawMessage(topics.JOINT_COMMAND.name, ns + 1000, ns, joint_state(ns, q_at(ns) + 0.01), i + 1))
        if i % 3 == 0:
            found.append(RawMessage(topics.EGO_IMAGE.name, ns + 2 * MS, ns, image(ns, i // 3), i // 3 + 1))
    if ended:
        end = start + length_ms * MS + 1
        found.append(RawMessage(topics.EPISODE.name, end, end, status(episode.ended(outcome, end))))
    return sorted(found, key=lambda sample: sample.log_ns)


def write_bag(folder, found, *, close=True, custom=(), beside=(), **more):
    """A bag of `found`, `custom` in its provenance; without `close` it is left as a killed recorder leaves it. beside:
    topics that the contract does not have.
    """
    recorded = [BagTopic.of(topic) for topic in (*topics.TOPICS, *beside)]
    bag = BagWriter(Path(folder), recorded, {"revision": "test", **dict(custom)}, **more)
    for i, sample in enumerate(found):
        bag.write(sample.topic, sample.log_ns, sample.publish_ns, sample.data, sample.sequence)
        if i % 100 == 99:
            bag.checkpoint()
    if close:
        bag.close()
    else:
        bag.abandon()
    return Path(folder)
