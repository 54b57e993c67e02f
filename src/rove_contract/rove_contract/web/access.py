# SPDX-License-Identifier: Apache-2.0
"""Who may talk to a web server of ROVE: this machine only or, with a token and TLS, others. Pure, but for `guard`,
which needs aiohttp.

A page of another site in the user's browser can reach 127.0.0.1 too: its requests carry a foreign Origin (checked), and
a foreign name that resolves to 127.0.0.1 (DNS rebinding) carries a foreign Host (checked).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TOKEN = re.compile(r"[A-Za-z0-9._~-]*")  # what an address and a cookie hold without escapes
TOKEN_LENGTH = 12  # characters at least: 48 bits even if they are hexadecimal, out of reach of guessing over a network
# Nothing is loaded from elsewhere, nobody frames the page, nobody guesses types.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def _address(host: str) -> Any:
    """The IP address written in `host`, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


@dataclass(frozen=True)
class Access:
    """host: address to bind. token: secret every client must present ("" = none). cert, key: PEM files for TLS.

    names: host names the server is reached under beside its addresses. service: what it is called, in refusals and in
    the name of its cookie. parameters: prefix of the ROS parameters that hold these values, "" if none do. Raises
    ValueError when others could reach the server unprotected.
    """

    host: str = "127.0.0.1"
    token: str = ""
    cert: str = ""
    key: str = ""
    names: tuple[str, ...] = ()
    service: str = "panel"
    parameters: str = ""

    def __post_init__(self) -> None:
        p = self.parameters
        if bool(self.cert) != bool(self.key):
            raise ValueError(f"TLS needs both {p}cert and {p}key (PEM files)")
        if self.token and len(self.token) < TOKEN_LENGTH:
            raise ValueError(
                f"{p}token has {len(self.token)} characters, expected {TOKEN_LENGTH} at least, e.g. of `openssl "
                f"rand -hex 16`"
            )
        if not TOKEN.fullmatch(self.token):
            raise ValueError(
                f"{p}token may have letters, digits and . _ ~ - only: it travels in an address and in a cookie; take "
                f"e.g. the output of `openssl rand -hex 16`"
            )
        if not is_loopback(self.host) and not (self.token and self.cert):
            raise ValueError(
                f"the {self.service} commands a robot, so binding it to {self.host} needs {p}token and TLS "
                f"({p}cert, {p}key); leave "
                f"{p}host at 127.0.0.1 and use `ssh -L PORT:127.0.0.1:PORT ROBOT` to reach it from elsewhere"
            )

    @property
    def scheme(self) -> str:
        return "https" if self.cert else "http"

    @property
    def cookie(self) -> str:
        """Cookies do not tell ports apart, so each service has its own."""
        return f"rove_{self.service}"

    def url(self, port: int) -> str:
        """Address of the server on this machine."""
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{port}/"

    def refusal(self, host: str | None, origin: str | None) -> str:
        """Why a request with these headers is refused; "" if it is not. origin None: not sent (not a browser, or a
        plain page load).
        """
        try:
            name = urlsplit(f"//{host or ''}").hostname or ""
        except ValueError:  # such as an unclosed bracket
            name = ""
        # A bare address cannot be a foreign name that resolves here, so a server for others answers to each of its own.
        ours = (
            is_loopback(name)
            or name == self.host
            or name in self.names
            or (not is_loopback(self.host) and _address(name) is not None)
        )
        if not ours:
            more = f"; {self.parameters}names adds others" if self.parameters else ""
            return f"the {self.service} is not served under the host name {host!r} but under {self._served()}{more}"
        if origin is not None and origin != f"{self.scheme}://{host}":
            return f"requests from pages of {origin!r} are refused"
        return ""

    def _served(self) -> str:
        """Host names and addresses it answers to, in words."""
        addresses = ["127.0.0.1"] if is_loopback(self.host) else ["any of its addresses"]
        return ", ".join([*addresses, "localhost", *self.names])

    def knows(self, token: str | None) -> bool:
        """True when no token is asked for, or this is it."""
        # surrogatepass: headers may hold any bytes, and these come as lone surrogates.
        offered = (token or "").encode("utf-8", "surrogatepass")
        return not self.token or hmac.compare_digest(offered, self.token.encode())

    def context(self) -> ssl.SSLContext | None:
        """TLS of the server, None without. Raises ValueError when the files cannot be used."""
        if not self.cert:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert, self.key)
        except OSError as error:
            raise ValueError(
                f"{self.parameters}cert {self.cert} and {self.parameters}key {self.key} cannot be used for TLS: "
                f"{error}; expected a PEM "
                "certificate and its private key"
            ) from None
        return context


class Bucket:
    """Token bucket. rate: per s; burst: most at once."""

    def __init__(self, rate: float, burst: float):
        self.rate, self.burst = rate, burst
        self._tokens = burst
        self._last: float | None = None

    def take(self, now: float) -> bool:
        """One token at `now` (monotonic s); False when there is none."""
        if self._last is not None:
            self._tokens = min(self.burst, self._tokens + max(0.0, now - self._last) * self.rate)
        self._last = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def guard(
    access: Access, refused: Callable[[], None] = lambda: None, public: frozenset[str] = frozenset({"/healthz"})
) -> Any:
    """aiohttp middleware: Host, Origin and token of every request; security headers on every answer.

    The token comes as `Authorization: Bearer TOKEN`, as the cookie, or once as `?token=TOKEN`: then the cookie is set
    and the address without the token takes over, so that it stays in no bookmark. public: paths that need no token.
    refused: called per refusal.
    """
    from aiohttp import web

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> Any:
        reason, status = access.refusal(request.headers.get("Host"), request.headers.get("Origin")), 403
        offered = request.query.get("token")
        if not reason and request.path not in public:
            bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not any(access.knows(token) for token in (offered, bearer, request.cookies.get(access.cookie))):
                status = 401
                wrong = "this is not the token" if offered or bearer else "a token is needed"
                reason = f"{wrong}: open the address that holds it, {access.scheme}://HOST:PORT/?token=TOKEN"
        if reason:
            refused()
            if "text/html" in request.headers.get("Accept", ""):
                return web.Response(status=status, text=f"ROVE: {reason}\n", headers=HEADERS)
            return web.json_response({"error": reason}, status=status, headers=HEADERS)
        if access.token and offered and access.knows(offered) and request.headers.get("Upgrade") is None:
            # One slash, and as it came: //NAME is another server's address, and a decoded path may hold a newline.
            place = "/" + request.rel_url.raw_path.lstrip("/\\")
            response = web.Response(status=303, headers=HEADERS | {"Location": place})
            # Lax: with Strict the address would not work when clicked in a chat; foreign pages are stopped by their
            # Origin.
            response.set_cookie(
                access.cookie, access.token, httponly=True, samesite="Lax", secure=bool(access.cert), max_age=12 * 3600
            )
            return response
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return middleware
