# SPDX-License-Identifier: Apache-2.0
"""Parameters of every running node, for the provenance of a bag: asked for once when a node appears, then kept up by
/parameter_events.

Clients exist only while a question is open: each one in the executor's wait set would cost the recorder time at every
wake-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import ParameterEvent
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import qos_profile_parameter_events

ANSWER_S = 5.0  # a node that is busy loading a model answers late; it is asked again
ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")


@dataclass
class Question:
    """To the node `name`; sent once its service is matched. then: (question, answer) -> None. since: monotonic s."""

    name: str
    client: Any
    request: Any
    then: Callable
    since: float
    sent: bool = False


class Parameters:
    """`values`: {node: {parameter: value}} of the nodes that are or were there. Call `update` about once a second."""

    def __init__(self, node):
        self.values: dict[str, dict[str, object]] = {}
        self._node = node
        self._questions: dict[str, Question] = {}
        self._known: set[str] = set()
        self._events = node.create_subscription(
            ParameterEvent, "/parameter_events", self._on_event, qos_profile_parameter_events
        )

    def update(self) -> None:
        """Ask the nodes that are new, and once more those that did not answer."""
        there = {
            f"{space.rstrip('/')}/{name}"
            for name, space in self._node.get_node_names_and_namespaces()
            if not name.startswith("_")
        }
        there.discard(self._node.get_fully_qualified_name())
        self._known &= there  # one that comes back is asked again: it may have other parameters
        for name, question in list(self._questions.items()):
            if name not in there or time.monotonic() - question.since > ANSWER_S:
                self._done(question)
            else:
                self._send(question)
        for name in there - self._known - self._questions.keys():
            self._ask(name, ListParameters, "list_parameters", ListParameters.Request(), self._on_names)

    def _ask(self, name: str, kind, service: str, request, then) -> None:
        client = self._node.create_client(kind, f"{name}/{service}")
        self._questions[name] = question = Question(name, client, request, then, time.monotonic())
        self._send(question)

    def _send(self, question: Question) -> None:
        if not question.sent and question.client.service_is_ready():
            question.sent = True
            question.client.call_async(question.request).add_done_callback(
                lambda future: self._on_answer(question, future)
            )

    def _on_answer(self, question: Question, future) -> None:
        if self._questions.get(question.name) is question:
            self._done(question)
            question.then(question, future.result())

    def _done(self, question: Question) -> None:
        del self._questions[question.name]
        self._node.destroy_client(question.client)

    def _on_names(self, question: Question, answer) -> None:
        names = [name for name in answer.result.names if not name.startswith(ROS_OWN)]
        self._ask(question.name, GetParameters, "get_parameters", GetParameters.Request(names=names), self._on_values)

    def _on_values(self, question: Question, answer) -> None:
        self._known.add(question.name)
        self.values[question.name.lstrip("/")] = dict(
            zip(question.request.names, map(parameter_value_to_python, answer.values))
        )

    def _on_event(self, event: ParameterEvent) -> None:
        mine = self.values.setdefault(event.node.lstrip("/"), {})
        for entry in [*event.new_parameters, *event.changed_parameters]:
            if not entry.name.startswith(ROS_OWN):
                mine[entry.name] = parameter_value_to_python(entry.value)
        for entry in event.deleted_parameters:
            mine.pop(entry.name, None)
