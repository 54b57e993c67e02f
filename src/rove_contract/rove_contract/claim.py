# SPDX-License-Identifier: Apache-2.0
"""One node per role: who is heard in a role, by the session id that every message of the command path carries. Pure.

Ids travel in the messages and not in the graph of publishers: a second node is noticed with its first message, under
whatever namespace or remap it runs, and a killed one is forgotten as soon as it is silent.
"""

from __future__ import annotations

UNNAMED = "a node without a name"


class Claim:
    """role: in words, e.g. "supervisor". silent_s: a node that said nothing for so long has given its role up."""

    def __init__(self, role: str, silent_s: float):
        self.role, self._silent_s = role, silent_s
        self._heard: dict[str, float] = {}

    def hear(self, session: str, now: float) -> None:
        """A message of the role came from `session` at now (monotonic s)."""
        self._heard[session or UNNAMED] = now

    def is_live(self, session: str, now: float) -> bool:
        """Whether `session` was heard a short while ago."""
        return now - self._heard.get(session or UNNAMED, float("-inf")) <= self._silent_s

    def rivals(self, now: float) -> str:
        """Names of the nodes that share the role now, as a sentence; "" for one or none."""
        if len(self._heard) < 2:
            return ""
        self._heard = {name: at for name, at in self._heard.items() if now - at <= self._silent_s}
        names = sorted(self._heard)
        return f"{len(names)} nodes claim to be the {self.role}: {' and '.join(names)}" if len(names) > 1 else ""
