# SPDX-License-Identifier: Apache-2.0
"""A panel for others: token and TLS. A module of its own, because there is one supervisor per session."""

import ssl

import aiohttp
import pytest

from rove_supervisor.testing.fake_world import CHROMIUM, answer, shows, talk

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
expect = sync_api.expect

pytestmark = [
    pytest.mark.ros,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def test_without_the_token_or_with_a_bad_one_the_browser_sees_nothing_but_the_reason(protected, browser):
    _, url, _, token = protected
    page = browser.new_page(ignore_https_errors=True)
    for path, words in (
        ("", "a token is needed"),
        ("?token=wrong-horse-battery", "this is not the token"),
        ("panel.js", "needed"),
    ):
        response = page.goto(url + path)
        assert response.status == 401 and words in page.inner_text("body") and token not in page.content()
    page.close()


def test_with_the_token_the_page_works_over_tls_and_the_address_forgets_it(world, protected, open_page):
    _, url, _, token = protected
    page = open_page(f"{url}?token={token}", ignore_https_errors=True)
    assert page.url == url
    shows(page, "IDLE")
    page.wait_for_function("rove.camera().fps >= 15", timeout=15000)
    page.reload()  # by the cookie
    shows(page, "IDLE")
    page.wait_for_function(
        "rove.state().mode === 'IDLE' && !document.querySelector('[data-do=start_rollout]').disabled", timeout=15000
    )
    page.click("[data-do=start_rollout]")
    shows(page, "ROLLOUT")
    page.click("#estop")
    shows(page, "ESTOP")


def test_a_page_whose_token_is_no_longer_valid_says_so(world, protected, open_page):
    _, url, _, token = protected
    page = open_page(f"{url}?token={token}", ignore_https_errors=True)
    page.context.clear_cookies()
    page.evaluate("rove.drop()")
    expect(page.locator("#mode")).to_have_text("NO CONNECTION")
    expect(page.locator("#mode-words")).to_contain_text("a token is needed", timeout=15000)


def test_a_websocket_needs_the_token_too(protected):
    _, url, cert, token = protected
    context = ssl.create_default_context(cafile=str(cert))
    good = {"Authorization": f"Bearer {token}"}
    refusals = (
        ({}, 401),
        ({"Authorization": "Bearer wrong-horse-battery"}, 401),
        (good | {"Origin": "https://evil.example"}, 403),
    )

    async def scenario():
        async with aiohttp.ClientSession() as session:
            for headers, status in refusals:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(url + "ws", headers=headers, ssl=context)
                assert refused.value.status == status
            async with session.ws_connect(url + "ws", headers=good, ssl=context) as ws:
                await ws.send_json({"ping": 1})
                assert (await answer(ws))["ping"] == 1

    talk(scenario())
