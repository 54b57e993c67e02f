# SPDX-License-Identifier: Apache-2.0
"""Endpoint text -> Source: `tcp://…`, `ipc://…` (ZMQ), `mvn://host:port` (Xsens MVN over UDP) or `https://host:port`
(WebXR headset).
"""

from __future__ import annotations

from rove_contract import timing
from rove_teleop.sources import Source
from rove_teleop.sources.webxr_source import WebxrSource
from rove_teleop.sources.xsens import PORT
from rove_teleop.sources.xsens_source import XsensSource
from rove_teleop.sources.zmq_source import ZmqSource


def open_source(
    endpoint: str,
    pattern: str = "sub",
    *,
    bind: bool = True,
    keys: str = "",
    peer: str = "",
    max_delay_s: float = timing.TELEOP_STALE_S,
) -> Source:
    """pattern, bind, keys: of ZMQ, see ZmqSource. peer: of MVN, see XsensSource. keys is the directory of WebxrSource's
    certificate, too.

    Raises ValueError with what to do.
    """
    scheme, _, address = endpoint.partition("://")
    if scheme == "mvn":
        host, _, port = address.partition(":")
        if not host or (port and not port.isdigit()):
            raise ValueError(f"endpoint {endpoint!r}; expected mvn://HOST:PORT, e.g. mvn://127.0.0.1:{PORT}")
        return XsensSource(host, int(port) if port else PORT, peer=peer, max_delay_s=max_delay_s)
    if scheme in ("tcp", "ipc", "inproc"):
        return ZmqSource(endpoint, pattern, bind=bind, keys=keys or None, max_delay_s=max_delay_s)
    if scheme in ("https", "http"):
        return WebxrSource(endpoint, directory=keys, max_delay_s=max_delay_s)
    raise ValueError(
        f"endpoint {endpoint!r}; expected tcp://HOST:PORT (ZMQ), mvn://HOST:PORT (Xsens MVN) or https://HOST:PORT "
        f"(WebXR)"
    )
