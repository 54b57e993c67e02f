# SPDX-License-Identifier: Apache-2.0
"""Endpoint text -> OperatorInput. A new device is one line of SCHEMES (docs/how-to/add-an-operator-device.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rove_contract import timing
from rove_description.robot import Robot
from rove_teleop.sources import OperatorInput, browser_source, webxr_source, xsens, xsens_source, zmq_source


@dataclass(frozen=True)
class Options:
    """What an input may need beside its endpoint. pattern, bind, keys: of ZMQ, see ZmqSource. peer: of MVN, see
    XsensSource. keys is the directory of a page's certificate, too. max_delay_s: later frames are refused.
    robot: the session's, for pages that show it; None: the default one.
    """

    pattern: str = "sub"
    bind: bool = True
    keys: str = ""
    peer: str = ""
    max_delay_s: float = timing.TELEOP_STALE_S
    robot: Robot | None = None


def _zmq(endpoint: str, options: Options) -> OperatorInput:
    keys = options.keys or None
    return zmq_source.ZmqSource(
        endpoint, options.pattern, bind=options.bind, keys=keys, max_delay_s=options.max_delay_s
    )


def _webxr(endpoint: str, options: Options) -> OperatorInput:
    return webxr_source.WebxrSource(
        endpoint, directory=options.keys, max_delay_s=options.max_delay_s, robot=options.robot
    )


def _mvn(endpoint: str, options: Options) -> OperatorInput:
    host, port = host_port(endpoint, xsens.PORT)
    return xsens_source.XsensSource(host, port, peer=options.peer, max_delay_s=options.max_delay_s)


def _browser(endpoint: str, options: Options) -> OperatorInput:
    host, port = host_port(endpoint, browser_source.PORT)
    return browser_source.BrowserSource(
        host, port, directory=options.keys, max_delay_s=options.max_delay_s, robot=options.robot
    )


# scheme -> (how to open it, how it is written)
SCHEMES: dict[str, tuple[Callable[[str, Options], OperatorInput], str]] = {
    "tcp": (_zmq, "tcp://HOST:PORT (ZMQ)"),
    "ipc": (_zmq, "ipc://PATH (ZMQ)"),
    "inproc": (_zmq, "inproc://NAME (ZMQ in this process)"),
    "mvn": (_mvn, "mvn://HOST:PORT (Xsens MVN)"),
    "https": (_webxr, "https://HOST:PORT (WebXR headset)"),
    "http": (_webxr, "http://127.0.0.1:PORT (WebXR headset by USB)"),
    "browser": (_browser, "browser://HOST:PORT (hands dragged in a browser)"),
}


def host_port(endpoint: str, known: int) -> tuple[str, int]:
    """(host, port) of SCHEME://HOST[:PORT]; `known` where no port is given. Raises ValueError."""
    scheme, _, address = endpoint.partition("://")
    host, _, port = address.rstrip("/").partition(":")
    if not host or "/" in host or (port and not port.isdigit()):
        raise ValueError(f"endpoint {endpoint!r}; expected {scheme}://HOST:PORT, e.g. {scheme}://127.0.0.1:{known}")
    return host, int(port) if port else known


def open_source(
    endpoint: str,
    pattern: str = "sub",
    *,
    bind: bool = True,
    keys: str = "",
    peer: str = "",
    max_delay_s: float = timing.TELEOP_STALE_S,
    robot: Robot | None = None,
) -> OperatorInput:
    """The input of an endpoint; the rest: see Options. Raises ValueError with what to do."""
    scheme = endpoint.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"endpoint {endpoint!r}; expected {', '.join(text for _, text in SCHEMES.values())}")
    return SCHEMES[scheme][0](endpoint, Options(pattern, bind, keys, peer, max_delay_s, robot))
