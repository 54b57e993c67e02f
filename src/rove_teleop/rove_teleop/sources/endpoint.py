# SPDX-License-Identifier: Apache-2.0
"""Endpoint text -> OperatorInput: `tcp://…`, `ipc://…` (ZMQ), `mvn://host:port` (Xsens MVN over UDP), `https://host:port`
(WebXR headset) or `browser://host:port` (hands dragged in a browser).
"""

from __future__ import annotations

from rove_contract import timing
from rove_teleop.sources import OperatorInput, browser_source, xsens, xsens_source
from rove_teleop.sources.webxr_source import WebxrSource
from rove_teleop.sources.zmq_source import ZmqSource


def open_source(
    endpoint: str,
    pattern: str = "sub",
    *,
    bind: bool = True,
    keys: str = "",
    peer: str = "",
    max_delay_s: float = timing.TELEOP_STALE_S,
) -> OperatorInput:
    """pattern, bind, keys: of ZMQ, see ZmqSource. peer: of MVN, see XsensSource. keys is the directory of a page's
    certificate, too.

    Raises ValueError with what to do.
    """
    scheme, _, address = endpoint.partition("://")
    if scheme in ("mvn", "browser"):
        known = xsens.PORT if scheme == "mvn" else browser_source.PORT
        host, _, port = address.rstrip("/").partition(":")
        if not host or "/" in host or (port and not port.isdigit()):
            raise ValueError(f"endpoint {endpoint!r}; expected {scheme}://HOST:PORT, e.g. {scheme}://127.0.0.1:{known}")
        number = int(port) if port else known
        if scheme == "mvn":
            return xsens_source.XsensSource(host, number, peer=peer, max_delay_s=max_delay_s)
        return browser_source.BrowserSource(host, number, directory=keys, max_delay_s=max_delay_s)
    if scheme in ("tcp", "ipc", "inproc"):
        return ZmqSource(endpoint, pattern, bind=bind, keys=keys or None, max_delay_s=max_delay_s)
    if scheme in ("https", "http"):
        return WebxrSource(endpoint, directory=keys, max_delay_s=max_delay_s)
    raise ValueError(
        f"endpoint {endpoint!r}; expected tcp://HOST:PORT (ZMQ), mvn://HOST:PORT (Xsens MVN), https://HOST:PORT "
        f"(WebXR) or browser://HOST:PORT (hands dragged in a browser)"
    )
