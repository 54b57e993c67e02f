# SPDX-License-Identifier: Apache-2.0
"""Your own input device in about 20 lines: publish operator frames, version 1 (docs/reference/operator-inputs.md)."""

import sys
import time

import msgpack
import zmq

endpoint = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5591"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 3600.0
publisher = zmq.Context.instance().socket(zmq.PUB)
publisher.connect(endpoint)  # the teleop node binds
start = time.time()
for seq in range(int(seconds * 60)):
    lift = 0.1 * (1 + seq % 120 / 120)  # m: replace these two lines by your device
    parts = {"left_wrist": [0.3, 0.25, lift, 0.71, 0.0, -0.71, 0.0], "left_elbow": [0.05, 0.3, 0.15]}
    frame = {"v": 1, "seq": seq, "t": time.time(), "source": "my device", "parts": parts}
    publisher.send(msgpack.packb(frame))
    time.sleep(max(0.0, start + (seq + 1) / 60 - time.time()))
