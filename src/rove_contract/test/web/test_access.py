# SPDX-License-Identifier: Apache-2.0
"""Who may talk to a web server of ROVE: addresses, Host, Origin, token, rates."""

import pytest

from rove_contract.web.access import Access, Bucket


def test_the_bucket_lets_a_burst_pass_and_then_the_rate():
    bucket = Bucket(rate=5.0, burst=10.0)
    assert sum(bucket.take(0.0) for _ in range(100)) == 10
    assert sum(bucket.take(1.0) for _ in range(100)) == 5
    assert sum(bucket.take(0.5) for _ in range(100)) == 0, "a clock that steps back grants nothing"


def test_only_this_machine_may_be_bound_without_token_and_tls():
    with pytest.raises(ValueError, match="needs token and TLS"):
        Access("0.0.0.0")
    with pytest.raises(ValueError, match="needs panel_token and TLS"):
        Access("0.0.0.0", token="a-long-secret", parameters="panel_")
    Access("0.0.0.0", token="a-long-secret", cert="c.pem", key="k.pem")


@pytest.mark.parametrize(
    "host, origin, ok",
    [
        ("127.0.0.1:8765", None, True),
        ("127.0.0.1:8765", "http://127.0.0.1:8765", True),
        ("localhost:8765", "http://localhost:8765", True),
        ("[::1]:8765", None, True),
        ("evil.example:8765", None, False),
        ("127.0.0.1:8765", "http://evil.example", False),
        ("127.0.0.1:8765", "http://127.0.0.1:9999", False),
        ("127.0.0.1:8765", "null", False),
        (None, None, False),
    ],
)
def test_foreign_hosts_and_origins_are_refused(host, origin, ok):
    assert (Access().refusal(host, origin) == "") is ok


def test_a_server_without_parameters_names_none():
    refusal = Access(service="webxr", names=("robot.local",)).refusal("evil.example:8443", None)
    assert (
        refusal
        == "the webxr is not served under the host name 'evil.example:8443' but under 127.0.0.1, localhost, robot.local"
    )


def test_tokens():
    assert Access().knows(None)
    access = Access(token="a-long-secret")
    assert access.knows("a-long-secret") and not access.knows("another") and not access.knows(None)


def test_a_short_token_is_refused():
    with pytest.raises(ValueError, match="expected 12 at least"):
        Access(token="secret")


@pytest.mark.parametrize("token", ["a secret of words", "geheimnis-für-alle", "secret;of;cookies", "a&b=cdefghijkl"])
def test_a_token_that_no_address_or_cookie_holds_is_refused(token):
    with pytest.raises(ValueError, match="letters, digits"):
        Access(token=token)


def test_a_server_for_others_answers_to_its_addresses_and_its_names_only():
    access = Access(
        "0.0.0.0", token="a-long-secret", cert="c.pem", key="k.pem", names=("robot.lab",), parameters="panel_"
    )
    assert (
        access.refusal("192.168.1.5:8765", "https://192.168.1.5:8765") == ""
        and access.refusal("robot.lab:8765", None) == ""
    )
    assert "robot.lab; panel_names adds others" in access.refusal("evil.example:8765", None)
    assert access.refusal("[", None) and access.refusal("192.168.1.5:8765", "http://192.168.1.5:8765")


def test_tls_files_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "c.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="expected a PEM certificate"):
        Access(cert=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem")).context()
