# SPDX-License-Identifier: Apache-2.0
"""One bag per episode: decides from the messages themselves when a bag begins and ends. No rclpy.

Between episodes the last `preroll_s` of every stream and the last message of every latched topic are kept, so that a
bag holds what led up to its first tick; nothing of a previous episode, nor of the scene before a reset, ever enters the
next bag (see preroll.py).
"""

from __future__ import annotations

import re
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rove_contract import episode as episodes
from rove_contract import files, topics
from rove_contract.episode import Episode
from rove_contract.messages import diagnostic_values
from rove_contract.modes import ACTIVE, mode_from_wire
from rove_description.joints import JointTable
from rove_recorder.bag.bag import SPLIT_BYTES, BagTopic, BagWriter
from rove_recorder.bag.preroll import continuous_since
from rove_recorder.bag.recording import QUEUE_BYTES, ClockNote, Counts, Offers, RawMessage, Recording, rounded
from rove_recorder.bag.schema import OfferedQos, schema, typestore

LATE_NS = (
    300_000_000  # after `ended`: three times the slowest message still under way (a picture over a loaded network)
)
# Of what is published after `ended` only this much: the mode IDLE and the robot's stop, but no later re-seating or
# reset.
TAIL_NS = 100_000_000
GIGABYTE = 1e9
# An episode's bag is closed when the supervisor says for this long that no episode runs, though it never ended this
# one (it was restarted), and when it says nothing at all for SILENT_NS. `ended` follows the mode within milliseconds.
ORPHAN_NS = 2_000_000_000
SILENT_NS = 10_000_000_000
CLOCK_SET_NS = 20_000_000  # the system clock was set; slewing changes it by 0.01 ms between two polls
REDACTED = "redacted"
# Of the parts of a parameter's name.
SECRET = re.compile(r"(?:^|_)(token|secret|password|passwd|passphrase|credentials?|(?:private|secret|api)_?key)(?:$|_)")
POLICY_NODE = b"policy"  # name of its status on /diagnostics


@dataclass(frozen=True)
class Settings:
    """out_dir: where bags go. preroll_s: of streams, before the start. min_free_gb: below it no episode starts; half of
    it ends one.
    """

    out_dir: Path
    compression: str = "zstd"
    preroll_s: float = 0.5
    min_free_gb: float = 1.0
    queue_bytes: int = QUEUE_BYTES
    split_bytes: int = SPLIT_BYTES


@dataclass
class EpisodeRecorder:
    """Feeds messages to at most one open `Recording`. provenance: goes into every bag. bag_topics: recorded topics by
    name.

    table: the robot's joints. clock_ns: ns since the epoch. steady_ns: of a clock that nobody sets, ns, to notice when
    that one is set; None: not
    noticed. free_gb: () -> free disk space.
    """

    settings: Settings
    clock_ns: Callable[[], int]
    table: JointTable
    provenance: Mapping[str, object] = field(default_factory=dict)
    bag_topics: dict[str, BagTopic] = field(
        default_factory=lambda: {topic.name: BagTopic.of(topic) for topic in topics.TOPICS}
    )
    free_gb: Callable[[], float] | None = None
    steady_ns: Callable[[], int] | None = None

    def __post_init__(self):
        self.settings.out_dir.mkdir(parents=True, exist_ok=True)
        for topic in self.bag_topics.values():
            schema(topic.type)  # loads the type store (0.2 s) before an episode waits for it
        if self.free_gb is None:
            self.free_gb = lambda: shutil.disk_usage(self.settings.out_dir).free / GIGABYTE
        self.episode: Episode | None = None  # being recorded, or recorded last
        self.recording: Recording | None = None
        self.last_bag = ""
        self.error = ""
        self.bags = self.failed = 0
        self.totals = Counts()  # of closed bags
        self._close_ns: int | None = None
        self._ended_ns = 0
        self._folder: Path | None = None
        self._ring: deque[RawMessage] = deque()
        self._latched: dict[str, RawMessage] = {}
        self.parameters: Mapping[str, Mapping[str, object]] = {}  # {node: {parameter: value}}, kept up by the node
        self._checkpoint_hash = ""
        self._ended: set[str] = set()
        self._closing: list[Recording] = []
        self._offset_ns = None if self.steady_ns is None else self.clock_ns() - self.steady_ns()
        self._heard_ns = 0  # when the supervisor published its mode last,
        self._idle_ns = 0  # and since when that is one without an episode; 0 = it is not

    def is_latched(self, name: str) -> bool:
        return self.bag_topics[name].latched

    def add_topic(self, topic: BagTopic) -> None:
        """A topic beyond the contract's; it enters the open bag too."""
        self.bag_topics[topic.name] = topic
        if self.recording is not None:
            self.recording.add_topic(topic)

    def set_offered(self, name: str, offered: tuple[OfferedQos, ...]) -> None:
        """What the publishers of a topic offer now; an open bag keeps what they offered before, too."""
        self.bag_topics[name] = replace(self.bag_topics[name], qos=offered)
        if self.recording is not None:
            self.recording.add_offered(Offers(name, offered))

    def feed(self, samples: list[RawMessage]) -> None:
        """Messages in the order of their log_ns. Never waits for the disk."""
        begin = 0
        for i, sample in enumerate(samples):
            if sample.topic == topics.DIAGNOSTICS.name:
                self._on_diagnostics(sample)
            elif sample.topic == topics.MODE.name:
                self._on_mode(sample)
            if sample.topic != topics.EPISODE.name:
                continue
            self._keep(samples[begin : i + 1])
            begin = i + 1
            self._on_episode(sample)
        self._keep(samples[begin:])

    def _keep(self, samples: list[RawMessage]) -> None:
        if not samples:
            return
        if self.recording is not None:
            if self._close_ns is not None:  # what was published before the end, however late it comes
                last = self._ended_ns + TAIL_NS
                kept = [sample for sample in samples if min(sample.publish_ns, sample.log_ns) <= last]
            else:
                kept = samples
            self.recording.put(kept)
        for sample in samples:
            if self.is_latched(sample.topic):
                self._latched[sample.topic] = sample
            elif self.recording is None:
                self._ring.append(sample)
        horizon = samples[-1].log_ns - round(self.settings.preroll_s * 1e9)
        while self._ring and self._ring[0].log_ns < horizon:
            self._ring.popleft()

    def _on_episode(self, sample: RawMessage) -> None:
        try:
            message = typestore().deserialize_cdr(sample.data, topics.EPISODE.type)
            episode = episodes.from_status(message)
        except (
            Exception
        ) as error:  # rosbags raises many kinds for a malformed message; one bad message must not stop the recorder
            self.error = f"unreadable message on {topics.EPISODE.name}: {error}"
            return
        if episode.state == episodes.ACTIVE and episode.id not in self._ended:
            if self.recording is not None and self.episode.id != episode.id:
                self._close("the next episode began")
            if self.recording is None:
                self._open(episode, sample.log_ns)
            self.episode = episode
        elif episode.state == episodes.ENDED:
            self._ended.add(episode.id)
            if self.recording is not None and self.episode.id == episode.id:
                self.episode = episode
                self._ended_ns, self._close_ns = sample.publish_ns, sample.log_ns + LATE_NS

    def _on_mode(self, sample: RawMessage) -> None:
        self._heard_ns = sample.log_ns
        try:
            event = typestore().deserialize_cdr(sample.data, topics.MODE.type)
            active = mode_from_wire(event.goal_state.id) in ACTIVE
        except Exception:  # as in _on_episode; a mode that cannot be read is none without an episode
            active = True
        if active:
            self._idle_ns = 0
        elif not self._idle_ns:
            self._idle_ns = sample.log_ns

    def _orphaned(self) -> str:
        """Why nobody will end the episode any more; "" while somebody may."""
        if self._close_ns is not None or not self._heard_ns:
            return ""
        if self._idle_ns and self._heard_ns - self._idle_ns > ORPHAN_NS:
            return "the supervisor was restarted: it says that no episode runs, and never ended this one"
        if self.clock_ns() - self._heard_ns > SILENT_NS:
            return f"the supervisor was silent for {SILENT_NS * 1e-9:g} s"
        return ""

    def _on_diagnostics(self, sample: RawMessage) -> None:
        """The policy says the hash of the weights that it loaded; the supervisor knows only their path."""
        if POLICY_NODE not in sample.data:  # most are other nodes': not worth decoding
            return
        try:
            for status in typestore().deserialize_cdr(sample.data, topics.DIAGNOSTICS.type).status:
                if status.name == POLICY_NODE.decode():
                    self._checkpoint_hash = diagnostic_values(status).get("checkpoint", "")
        except Exception as error:  # as in _on_episode
            self.error = f"unreadable message on {topics.DIAGNOSTICS.name}: {error}"

    def _provenance(self, episode: Episode, delays: Mapping[str, float]) -> dict[str, object]:
        """What is known now of how the episode came about. delays: see Counts.delay_s, of topics that are not
        latched.
        """
        nodes = redact({**self.parameters, **self.provenance.get("parameters", {})})  # type: ignore[dict-item]
        hashes = {"checkpoint_hash": self._checkpoint_hash} if episode.kind == "rollout" else {}
        return {
            **self.provenance,
            **episodes.to_values(episode),
            **hashes,
            "parameters": nodes,
            "clock_offsets": delays,
        }

    def _delays(self, counts: Mapping[str, Counts]) -> dict[str, float]:
        with_delay = {
            name: count.delay_s
            for name, count in counts.items()
            if count.delay_s is not None and not self.is_latched(name)
        }
        return {name: round(delay, 4) for name, delay in sorted(with_delay.items())}

    def _open(self, episode: Episode, start_ns: int) -> None:
        try:
            folder = self.settings.out_dir / files.name(episode.id, "episode id")
        except files.UnsafePath as error:
            self._ended.add(episode.id)
            self.failed, self.error = self.failed + 1, f"the episode is not recorded: {error}"
            return
        attempt = 2
        while folder.exists():  # a recorder that was killed and respawned within the episode
            folder, attempt = self.settings.out_dir / f"{episode.id}.{attempt}", attempt + 1
        seen: dict[str, Counts] = {}
        for sample in self._ring:
            count, delay = seen.setdefault(sample.topic, Counts()), (sample.log_ns - sample.publish_ns) * 1e-9
            count.delay_s = delay if count.delay_s is None else min(count.delay_s, delay)
        custom = self._provenance(episode, self._delays(seen))
        del custom["state"], custom["outcome"]
        all_topics, settings = list(self.bag_topics.values()), self.settings
        self._folder, self._close_ns, self.error = folder, None, ""
        self.episode = episode
        self.recording = Recording(
            lambda: BagWriter(
                folder, all_topics, custom, compression=settings.compression, split_bytes=settings.split_bytes
            ),
            queue_bytes=settings.queue_bytes,
        )
        self._heard_ns, self._idle_ns = 0, 0
        if self.steady_ns is not None:
            self.recording.note_clock(ClockNote(self.clock_ns(), self.steady_ns()))
        since = continuous_since(self._ring, self.table)
        ring = [sample for sample in self._ring if sample.log_ns >= since]
        first_ns = ring[0].log_ns if ring else start_ns
        # A latched message may be hours old; in the bag it stands at the beginning, with its own publication stamp.
        latched = [
            sample._replace(log_ns=min(max(sample.log_ns, first_ns), start_ns)) for sample in self._latched.values()
        ]
        self.recording.put(sorted([*latched, *ring], key=lambda sample: sample.log_ns))
        self._ring.clear()

    def poll(self) -> None:
        """Close what is due and collect what is closed; call it often (every 20-50 ms)."""
        self._watch_clock()
        if self.recording is not None and (reason := self._orphaned()):
            self._close(reason)
        if self.recording is not None:
            due = self._close_ns is not None and self.clock_ns() > self._close_ns
            if due or self.recording.error:
                self._close()
        for recording in [entry for entry in self._closing if entry.done]:
            self._closing.remove(recording)
            for count in recording.counts.values():
                self.totals.received += count.received
                self.totals.written += count.written
                self.totals.dropped += count.dropped
                self.totals.missed += count.missed
            if recording.error:
                self.failed += 1
                self.error = (
                    f"bag {recording.folder.name} is not complete: {recording.error}; run `rove run rove_recorder "
                    f"recover` on it"
                )
            else:
                self.last_bag = str(recording.folder)
                self.bags += 1

    def _watch_clock(self) -> None:
        if self.steady_ns is None:
            return
        system, steady = self.clock_ns(), self.steady_ns()
        step = system - steady - self._offset_ns
        self._offset_ns += step
        if abs(step) <= CLOCK_SET_NS:
            return
        self._ring.clear()  # stamped by the clock as it was before
        self._heard_ns, self._idle_ns = (value + step if value else 0 for value in (self._heard_ns, self._idle_ns))
        if self._close_ns is not None:
            self._close_ns, self._ended_ns = self._close_ns + step, self._ended_ns + step
        if self.recording is not None:
            self.recording.note_clock(ClockNote(system, steady))

    def _close(self, note: str = "") -> None:
        recording, episode = self.recording, self.episode
        recording.folder = self._folder
        custom = self._provenance(episode, self._delays(recording.counts))
        if note:
            custom["recorder_note"] = note
        recording.close(custom)
        self.recording, self._close_ns = None, None
        self._ring.clear()
        self._closing.append(recording)

    def stop(self, note: str, timeout_s: float = 5.0) -> None:
        """Close the open bag early, e.g. at shutdown, and wait for it."""
        if self.recording is not None:
            self._close(note)
        for recording in list(self._closing):
            recording.join(timeout_s)
        self.poll()

    def not_ready(self) -> str:
        """Why no episode may start now; "" when one may."""
        free = self.free_gb()
        if free < self.settings.min_free_gb:
            return (
                f"{free:.2f} GB free in {self.settings.out_dir}, at least {self.settings.min_free_gb:g} GB are needed"
            )
        return ""

    def disk_almost_full(self) -> bool:
        """True when an open bag must end now, while there is still room for its index."""
        return self.recording is not None and self.free_gb() < self.settings.min_free_gb / 2

    def values(self) -> dict[str, object]:
        """For /recorder/status: the open bag's counts, or the last one's, and the totals of all."""
        recording = self.recording or (self._closing[-1] if self._closing else None)
        counts = list(recording.counts.values()) if recording is not None else []
        names = ("received", "written", "dropped", "missed")
        live = {name: sum(getattr(count, name) for count in counts) for name in names}
        totals = asdict(self.totals)
        return {
            "episode": self.episode.id if self.episode is not None and self.recording is not None else "",
            "recording": str(self.recording is not None).lower(),
            **{name: live[name] if recording is not None else totals[name] for name in names},
            **{f"total_{name}": totals[name] + live[name] for name in names},
            "unsaved_s": f"{recording.unsaved_s if recording is not None else 0.0:.1f}",
            "topics": {name: rounded(count) for name, count in sorted(list(recording.counts.items()))}
            if recording is not None
            else {},
            "bags": self.bags,
            "failed_bags": self.failed,
            "last_bag": self.last_bag,
            "disk_free_gb": f"{self.free_gb():.2f}",
        }


def redact(nodes: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, object]]:
    """{node: {parameter: value}} with the values of parameters named like secrets replaced; empty ones stay."""

    def value(name: str, held: object) -> object:
        return REDACTED if held and SECRET.search(name.lower().replace(".", "_")) else held

    return {node: {name: value(name, held) for name, held in values.items()} for node, values in nodes.items()}
