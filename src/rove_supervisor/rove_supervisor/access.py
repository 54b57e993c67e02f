"""Who may talk to the panel: this machine only, or, with a token and TLS, others. Pure.

A page of another site in the supervisor's browser can reach 127.0.0.1 too: its requests carry a foreign Origin (checked), and a
foreign name that resolves to 127.0.0.1 carries a foreign Host (checked).
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

COOKIE = "rove_panel"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """host: address to bind. token: secret every client must present ("" = none). cert, key: PEM files for TLS.

    names: host names the panel is reached under beside its address. Raises ValueError when others could reach it unprotected.
    """

    host: str = "127.0.0.1"
    token: str = ""
    cert: str = ""
    key: str = ""
    names: tuple[str, ...] = ()

    def __post_init__(self):
        if bool(self.cert) != bool(self.key):
            raise ValueError("TLS needs both panel_cert and panel_key (PEM files)")
        if not is_loopback(self.host) and not (self.token and self.cert):
            raise ValueError(
                f"the panel commands a robot, so binding it to {self.host} needs panel_token and TLS (panel_cert, panel_key); "
                "leave panel_host at 127.0.0.1 and use `ssh -L 8765:127.0.0.1:8765 ROBOT` to reach it from elsewhere"
            )

    @property
    def scheme(self) -> str:
        return "https" if self.cert else "http"

    def refusal(self, host: str | None, origin: str | None) -> str:
        """Why a request with these headers is refused; "" if it is not. origin None: not sent (not a browser, or a plain page load)."""
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
        if not (is_loopback(name) or name == self.host or name in self.names):
            return f"the panel is not served under the host name {host!r}"
        if origin is not None and origin != f"{self.scheme}://{host}":
            return f"requests from pages of {origin!r} are refused"
        return ""

    def knows(self, token: str | None) -> bool:
        """True when no token is asked for, or this is it."""
        return not self.token or hmac.compare_digest((token or "").encode(), self.token.encode())
