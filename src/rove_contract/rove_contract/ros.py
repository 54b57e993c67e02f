# SPDX-License-Identifier: Apache-2.0
"""The contract as rclpy objects. The only module of rove_contract that needs ROS; import it in nodes, never in
cores.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.msg import TransitionEvent
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import serialize_message
from std_srvs.srv import Trigger as TriggerService

from rove_contract import cdr, lifetime, node_help, parameters, topics, transport
from rove_contract import episode as episodes
from rove_contract.modes import Mode, Trigger, mode_from_wire, to_wire
from rove_contract.realtime_publisher import RealtimePublisher
from rove_contract.tf_type import tf_message_class

transport.choose_udp()  # read when rclpy.init makes the participant, so before anybody can call it

P = TypeVar("P")
LEVELS = {0: DiagnosticStatus.OK, 1: DiagnosticStatus.WARN, 2: DiagnosticStatus.ERROR, 3: DiagnosticStatus.STALE}


def message_class(type_name: str) -> type:
    """ "pkg/msg/Type" -> message class. tf2_msgs has no wheel: what stands in for it takes and gives bytes only."""
    package, kind, name = type_name.split("/")
    if type_name == topics.TF.type and importlib.util.find_spec(package) is None:
        return tf_message_class()
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def qos_profile(qos: topics.Qos, *, publisher: bool = True) -> QoSProfile:
    """Qos -> QoSProfile. Only the publisher offers the deadline: a subscriber that asks for none matches any."""
    profile = QoSProfile(
        depth=qos.depth,
        reliability=QoSReliabilityPolicy.RELIABLE
        if qos.reliability == "reliable"
        else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL
        if qos.durability == "transient_local"
        else QoSDurabilityPolicy.VOLATILE,
    )
    if publisher and qos.deadline_s is not None:
        profile.deadline = Duration(nanoseconds=round(qos.deadline_s * 1e9))
    return profile


def publisher(node: Any, topic: topics.Topic) -> Any:
    """Publisher of a contract topic, with the contract's type and QoS, in the node's namespace."""
    profile = qos_profile(topic.offered or topic.qos)
    return node.create_publisher(message_class(topic.type), topics.relative(topic.name), profile)


class _Allocator(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("allocate", "deallocate", "reallocate", "zero_allocate", "state")]


class _SerializedMessage(ctypes.Structure):
    """rcutils_uint8_array_t."""

    _fields_ = [
        ("buffer", ctypes.c_char_p),
        ("length", ctypes.c_size_t),
        ("capacity", ctypes.c_size_t),
        ("allocator", _Allocator),
    ]


def serialize(message: Any) -> bytes:
    """Message -> CDR without the bytes that rclpy's serialize_message leaves behind it (see rove_contract.cdr)."""
    return serialize_message(message)[: cdr.serialized_size(message)]


def sender(publisher: Any) -> Callable[[bytes], None]:
    """serialized message -> None: publishes as `publisher.publish` does, but without Python's global lock.

    rclpy keeps that lock while it publishes, so a publish that blocks in one thread stops all of them. ctypes releases
    it. Raises RuntimeError when rcl refuses.
    """
    publish = ctypes.CDLL("librcl.so").rcl_publish_serialized_message
    publish.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    publish.restype = ctypes.c_int32

    def send(data: bytes) -> None:
        serialized = _SerializedMessage(data, len(data), len(data), _Allocator())
        with publisher.handle:  # must not be destroyed meanwhile
            status = publish(publisher.handle.pointer, ctypes.byref(serialized), None)
        if status != 0:
            raise RuntimeError(f"rcl cannot publish on {publisher.topic_name}: status {status}")

    return send


class Polled(CallbackGroup):
    """Keeps its subscriptions out of the executor's wait set; the node takes their messages itself (`take_newest`):
    a node that looks at 100 Hz topics 30 times a second needs no waking in between.
    """

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        pass


def take_newest(subscription: Any) -> Any:
    """The newest message of a subscription in a Polled group since the last call; None where none has come."""
    newest = None
    with subscription.handle:
        while (taken := subscription.handle.take_message(subscription.msg_type, subscription.raw)) is not None:
            newest = taken[0]
    return newest


def subscription(
    node: Any,
    topic: topics.Topic,
    callback: Any,
    *,
    raw: bool = False,
    depth: int | None = None,
    group: CallbackGroup | None = None,
) -> Any:
    """Subscription to a contract topic; raw=True gives the CDR bytes; depth: another queue than the contract's."""
    profile = qos_profile(topic.qos, publisher=False)
    if depth is not None:
        profile.depth = depth
    kind, name = message_class(topic.type), topics.relative(topic.name)
    return node.create_subscription(kind, name, callback, profile, raw=raw, callback_group=group)


def resolved(node: Any, topic: topics.Topic) -> str:
    """The name of a contract topic in the graph, with the node's namespace and remaps: what graph queries want."""
    return node.resolve_topic_name(topics.relative(topic.name))


def service(node: Any, name: str, callback: Any, **options: Any) -> Any:
    """A std_srvs/Trigger service of the contract, in the node's namespace."""
    return node.create_service(TriggerService, topics.relative(name), callback, **options)


def client(node: Any, name: str) -> Any:
    """A client of a std_srvs/Trigger service of the contract, in the node's namespace."""
    return node.create_client(TriggerService, topics.relative(name))


def descriptor(declaration: parameters.Declaration) -> ParameterDescriptor:
    """What `ros2 param describe` shows. A parameter that is not live is read once, at the start, and read-only."""
    d = declaration
    found = ParameterDescriptor(
        type=Parameter.Type.from_parameter_value(d.default).value,
        description=f"{d.description}, {d.unit}" if d.unit else d.description,
        read_only=not d.live,
        additional_constraints=d.range(),
    )
    bounded = math.isfinite(d.low) or math.isfinite(d.high)
    if bounded and isinstance(d.default, float) and math.isfinite(d.default):
        found.floating_point_range = [FloatingPointRange(from_value=d.low, to_value=d.high)]
    if bounded and isinstance(d.default, int):
        low, high = (int(max(-(2**63), min(2**63 - 1, end))) for end in (d.low, d.high))
        found.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return found


def read_parameters(node: Any, cls: type[P]) -> P:
    """Declare every parameter of a node's dataclass (`rove_contract.parameters`) and read them. Raises ValueError for a
    value of another type or out of its range, with the name and what was expected.
    """
    values = {}
    for name, declaration in parameters.declarations(cls).items():
        try:
            value = node.declare_parameter(name, declaration.default).value
        except ParameterException as error:
            expected = f"{type(declaration.default).__name__}, e.g. {declaration.default!r}"
            raise ValueError(f"parameter {name}: {error}; expected {expected}") from error
        value = list(value) if isinstance(declaration.default, list) else value
        if reason := declaration.refusal(value):
            raise ValueError(reason)
        node.set_descriptor(name, descriptor(declaration))
        values[name] = value
    return cls(**values)


def session_id(node: Any) -> str:
    """Who speaks, for every message of the command path: name of the node, computer and process."""
    return f"{node.get_fully_qualified_name()}@{socket.gethostname()}:{os.getpid()}"


def claim_role(node: Any, topic: topics.Topic, role: str, discovery_s: float) -> None:
    """Raise ValueError if `topic` has a publisher already: one node per role. Call it before making the publisher.

    discovery_s: how long to look; on one computer a peer is found within some 100 ms.
    """
    name = resolved(node, topic)
    until = time.monotonic() + discovery_s
    while True:
        others = publisher_names(node, name)
        named = not any("UNKNOWN" in other for other in others)  # an endpoint is discovered a moment before its node
        if others and (named or time.monotonic() >= until):
            raise ValueError(
                f"{name} already has a publisher: {', '.join(others)}. There is one {role} per session, and two would "
                "fight over the robot; stop the other one first."
            )
        if time.monotonic() >= until:
            return
        time.sleep(0.02)


def publisher_names(node: Any, topic_name: str) -> list[str]:
    """Names of the nodes that publish a topic; topic_name: resolved, as `publisher.topic_name` gives it."""
    found = node.get_publishers_info_by_topic(topic_name)
    return [f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in found]


def mode_event(previous: Mode, trigger: Trigger | None, mode: Mode, stamp_ns: int, session: str = "") -> Any:
    """The latched mode message: transition, start and goal state, ns since the epoch of the transition (not of the
    heartbeat).

    session: of the supervisor, see `session_id`; it stands in the transition's label behind " by ".
    """
    event = TransitionEvent()
    event.timestamp = stamp_ns
    event.transition.id = to_wire(trigger)
    name = "start" if trigger is None else trigger.service
    event.transition.label = f"{name} by {session}" if session else name
    event.start_state.id, event.start_state.label = to_wire(previous), previous.name
    event.goal_state.id, event.goal_state.label = to_wire(mode), mode.name
    return event


def mode_of(event: Any) -> Mode:
    """Mode in a TransitionEvent. Raises ValueError for an id that is not a mode."""
    return mode_from_wire(event.goal_state.id)


def mode_session(event: Any) -> str:
    """Session id of the supervisor that published a TransitionEvent, "" for one without."""
    return event.transition.label.partition(" by ")[2]


def status(
    name: str, message: str, values: Mapping[str, object] = MappingProxyType({}), level: int = 0, hardware_id: str = ""
) -> DiagnosticStatus:
    """DiagnosticStatus from plain values; level 0 OK, 1 WARN, 2 ERROR, 3 STALE."""
    pairs = [KeyValue(key=str(key), value=str(value)) for key, value in dict(values).items()]
    return DiagnosticStatus(level=LEVELS[level], name=name, message=message, hardware_id=hardware_id, values=pairs)


def episode_status(episode: episodes.Episode) -> DiagnosticStatus:
    """Episode -> the message of /supervisor/episode."""
    return status(f"episode/{episode.id}", episode.state, episodes.to_values(episode))


def timer(node: Any, period_s: float, callback: Any) -> Any:
    """A timer on the steady clock: with the node's own clock a step of the system clock backwards would silence the
    node.
    """
    return node.create_timer(period_s, callback, clock=Clock(clock_type=ClockType.STEADY_TIME))


class Diagnostics:
    """Publishes one status of a node on /diagnostics at 1 Hz.

    report: () -> (level, message, values), called at each tick. realtime: publish from a thread of its own, for a node
    whose loop must not wait for the middleware; the newest status replaces one that could not leave. Call `close` then.
    """

    def __init__(self, node: Any, report: Any, *, realtime: bool = False) -> None:
        self._node = node
        self._report = report
        self._publisher = publisher(node, topics.DIAGNOSTICS)
        self._thread = RealtimePublisher(sender(self._publisher), math.inf, name="diagnostics") if realtime else None
        self._timer = timer(node, 1.0, self.publish)

    def publish(self) -> None:
        """Publish now, beside the regular tick (e.g. when a reason changes)."""
        level, message, values = self._report()
        array = DiagnosticArray(status=[status(self._node.get_name(), message, values, level, socket.gethostname())])
        array.header.stamp = self._node.get_clock().now().to_msg()
        if self._thread is None:
            self._publisher.publish(array)
        else:
            self._thread.offer(serialize(array))

    def close(self) -> None:
        """End the thread, if there is one."""
        if self._thread is not None:
            self._thread.close()


def now_ns() -> int:
    """ns since the epoch, the clock of every stamp on the wire."""
    return time.time_ns()


def refuse_simulated_time(node: Any) -> None:
    """Nobody publishes /clock here, and stamps are of the system's clock: with use_sim_time a part of them would stand
    still. Raises ValueError where it is set; setting it later is refused.
    """
    reason = "use_sim_time is not supported: all stamps are of the system's clock; leave it out"

    def check(changed: Any) -> SetParametersResult:
        wrong = any(parameter.name == "use_sim_time" and parameter.value for parameter in changed)
        return SetParametersResult(successful=not wrong, reason=reason if wrong else "")

    if node.get_parameter("use_sim_time").value:
        raise ValueError(reason)
    node.add_on_set_parameters_callback(check)


def spin(make_node: Any, args: Any = None) -> int:
    """Run one node until Ctrl-C or SIGTERM, or print its help for --help; returns the exit status.

    make_node: () -> Node, of the node's module; where it raises ValueError, its message is printed and the status is 2.
    The garbage collector is frozen after construction: with the default a 10 ms loop was seen to spike to 20 ms.
    """
    if node_help.is_wanted(sys.argv if args is None else args):
        print(node_help.describe(make_node))
        return 0
    lifetime.end_with_parent()
    rclpy.init(args=args)
    node = None
    try:
        try:
            node = make_node()
            refuse_simulated_time(node)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        gc.collect()
        gc.freeze()
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # RCLError is one
        # The signal came while the executor built its wait set or converted a message. rclpy shuts down in a thread of
        # its own.
        time.sleep(0.1)
        if rclpy.ok():
            raise
    finally:
        lifetime.ignore_stop_signals()
        if node is not None:
            close = getattr(node, "close", None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
        lifetime.ignore_stop_signals()  # rclpy has put the handlers back
    return 0
