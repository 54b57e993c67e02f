# SPDX-License-Identifier: Apache-2.0
"""Review: the right frames, labels and scores reach the page; only pages of this machine may correct; a person corrects
by keyboard.
"""

import asyncio
import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from rove_contract import images
from rove_contract.modes import Mode, Outcome, Source, Stage
from rove_description import robot
from rove_recorder.dataset import correction_fields, correction_mark, corrections
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset.lerobot import DatasetWriter, EpisodeFrames
from rove_recorder.dataset.lerobot_format import QUALITY, DatasetError
from rove_recorder.dataset.quality import read as read_quality
from rove_recorder.dataset.scores import write_scores
from rove_recorder.export.export import export_bags
from rove_recorder.review.data import ReviewData
from rove_recorder.testing.synthetic import T0, samples, write_bag

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CARD = robot.load().card
NAMES = CARD.joints
SECOND = 1_000_000_000
TASK = "erase the whiteboard"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Three bags, exported: an intervention that succeeded (takeover 20, t_r 32, 46 frames), a failed rollout, an
    aborted one.
    """
    folder = tmp_path_factory.mktemp("review")
    plain = ((0, Mode.ROLLOUT),)
    bags = [
        write_bag(folder / "bags/a", samples("a")),
        write_bag(
            folder / "bags/b",
            samples("b", start=T0 + 60 * SECOND, story=plain, length_ms=2000, outcome=Outcome.FAILURE),
        ),
        write_bag(
            folder / "bags/c",
            samples("c", start=T0 + 90 * SECOND, story=plain, length_ms=1500, outcome=Outcome.ABORTED),
        ),
    ]
    results = export_bags(bags, folder / "data", workers=1, progress=False)
    assert [result.error for result in results] == ["", "", ""]
    frame = np.arange(46)
    write_scores(
        folder / "data",
        "critic",
        np.zeros(46),
        frame,
        value=-0.5 + frame / 100,
        advantage=frame - 20.0,
        positive=frame > 40,
        threshold=20.0,
        scale=600.0,
    )
    return folder / "data"


@pytest.fixture
def root(exported):
    """The dataset as exported: corrections are the only thing that a test may leave."""
    (exported / corrections.FILE).unlink(missing_ok=True)
    info = exported / layout.INFO
    if (clean := correction_mark.without_mark(info.read_bytes())) != info.read_bytes():
        info.write_bytes(clean)
    return exported


def contents(root):
    """Of every file; of info.json without the note that there are corrections."""
    data = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    data[Path(layout.INFO)] = correction_mark.without_mark(data[Path(layout.INFO)])
    return {path: hashlib.sha256(content).hexdigest() for path, content in data.items()}


class Server:
    """A real `review` process on a free port."""

    def __init__(self, root, *more):
        command = [sys.executable, "-m", "rove_recorder.review.server", str(root), "--port", "0", "--by", "ann", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://127\.0\.0\.1:\d+/", line).group()

    def ask(self, path, body=None, method=None, **more):
        async def talk():
            more.update({} if body is None else {"json": body})
            verb = method or ("GET" if body is None else "POST")
            async with aiohttp.ClientSession() as session, session.request(verb, self.url + path, **more) as answer:
                return answer.status, await answer.read()

        status, data = asyncio.run(talk())
        return status, json.loads(data) if data[:1] == b"{" else data

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(10)
        self.process.stdout.close()
        return status


@pytest.fixture(scope="module")
def one_server(exported):
    server = Server(exported)
    yield server
    server.stop()


@pytest.fixture
def server(root, one_server):
    return one_server


def test_the_listing_has_stages_labels_flags_and_what_is_trained_on(root):
    listing = ReviewData(root).listing()
    first, second, third = listing["episodes"]
    assert first["stages"] == [["ROLLOUT", 0, 20], ["ADAPTATION", 20, 32], ["RECOVERY", 32, 46]]
    assert (first["outcome"], first["t_r"], first["takeover"], first["task"], first["seconds"]) == (
        "success",
        32,
        20,
        TASK,
        2.3,
    )
    assert (second["outcome"], second["trained"], third["outcome"], third["excluded"], third["trained"]) == (
        "failure",
        True,
        "aborted",
        True,
        False,
    )
    assert listing["scores"] == ["critic"]


def test_what_the_export_found_suspicious_is_flagged(tmp_path, exported):
    shutil.copytree(exported, tmp_path / "d")
    report = {
        **asdict(next(iter(read_quality(exported).values()))),
        "flags": ["the camera froze"],
        "tracking_rad": 0.0123,
    }
    (tmp_path / "d" / QUALITY).write_text(json.dumps({"episode_index": 1, "episode_id": "b", **report}) + "\n")
    data = ReviewData(tmp_path / "d")
    assert [episode["flags"] for episode in data.listing()["episodes"]] == [[], ["the camera froze"], []]
    assert "tracking 0.012 rad" in data.brief(1)["quality"] and data.brief(0)["quality"] == ""
    (tmp_path / "d" / QUALITY).write_text("{}\n")
    with pytest.raises(DatasetError, match="line 1 is no quality report"):
        ReviewData(tmp_path / "d").listing()


def test_joints_are_grouped_by_block_and_side_and_none_is_lost(root):
    groups = ReviewData(root).listing()["groups"]
    assert {group["title"]: len(group["joints"]) for group in groups} == {
        "Head and waist": 6,
        "Left arm": 7,
        "Right arm": 7,
        "Left hand": 15,
        "Right hand": 15,
    }
    assert sorted(number for group in groups for number in group["joints"]) == list(range(50))


def test_joints_and_scores_are_those_of_the_dataset(root):
    data = ReviewData(root)
    state, action = np.frombuffer(data.joints(1), "<f4").reshape(2, -1, 50)
    import pyarrow.parquet as pq

    table = pq.read_table(root / "data", filters=[("episode_index", "=", 1)])
    np.testing.assert_array_equal(state, np.array(table["observation.state"].to_pylist(), np.float32))
    np.testing.assert_array_equal(action, np.array(table["action"].to_pylist(), np.float32))
    scores = data.episode(0, "critic")["scores"]
    assert scores["value"][10] == -0.4 and scores["advantage"][10] == -10 and scores["positive"].index(True) == 41
    assert (scores["threshold"], scores["scale"]) == (20.0, 600.0)
    assert data.episode(1, "critic")["scores"] is None and not scores["outdated"]
    assert "it has critic" in data.episode(0, "other")["scores_error"]


@pytest.mark.parametrize("camera", ["video", "image"])
def test_every_picture_is_exactly_the_one_of_its_frame(tmp_path, camera):
    length, base = 40, (20, 90)
    with DatasetWriter(tmp_path / "d", robot=CARD, image_size=(32, 48), camera=camera) as out:
        for number, dark in enumerate(base):
            pictures = np.stack([np.full((32, 48, 3), dark + 4 * i, np.uint8) for i in range(length)])
            flat = np.zeros((length, 50))
            labels = (np.full(length, kind) for kind in (Stage.ROLLOUT, Source.POLICY, Mode.ROLLOUT))
            out.add_episode(
                EpisodeFrames(flat, flat, pictures, *labels, task=TASK, outcome=Outcome.SUCCESS, episode_id=str(number))
            )
    data = ReviewData(tmp_path / "d")
    for number, dark in enumerate(base):
        for start, count in ((0, 5), (17, 3), (33, 24)):
            jpegs = data.pictures(number, start, count)
            seen = [images.decode(jpeg).mean() for jpeg in jpegs]
            np.testing.assert_allclose(seen, dark + 4.0 * np.arange(start, min(start + count, length)), atol=1.5)
    with pytest.raises(DatasetError, match="frames 0 to 39, not 40"):
        data.pictures(0, 40, 1)


VIEWS = {"ego": (32, 48), "left_wrist": (24, 24), "right_wrist": (24, 32)}
GREY = {"ego": 20, "left_wrist": 90, "right_wrist": 160}  # of frame 0; each frame is brighter by 2


def three_cameras(folder, camera="image", length=30):
    """A dataset of one episode whose pictures tell camera and frame by their grey."""
    flat = np.zeros((length, 50))
    pictures = {
        name: np.stack([np.full((*size, 3), GREY[name] + 2 * i, np.uint8) for i in range(length)])
        for name, size in VIEWS.items()
    }
    labels = (np.full(length, kind) for kind in (Stage.ROLLOUT, Source.POLICY, Mode.ROLLOUT))
    with DatasetWriter(folder, robot=CARD, image_size=VIEWS, camera=camera) as out:
        out.add_episode(
            EpisodeFrames(flat, flat, pictures, *labels, task=TASK, outcome=Outcome.SUCCESS, episode_id="e")
        )
    return folder


@pytest.mark.parametrize("camera", ["video", "image"])
def test_the_pictures_of_every_camera_can_be_asked_for_by_its_name(tmp_path, camera):
    data = ReviewData(three_cameras(tmp_path / "d", camera))
    assert data.listing()["cameras"] == list(VIEWS)
    for name, size in VIEWS.items():
        seen = [images.decode(jpeg) for jpeg in data.pictures(0, 7, 3, name)]
        assert {picture.shape for picture in seen} == {(*size, 3)}
        np.testing.assert_allclose([picture.mean() for picture in seen], GREY[name] + 2.0 * np.arange(7, 10), atol=2)
    assert data.pictures(0, 7, 3) == data.pictures(0, 7, 3, "ego")
    with pytest.raises(DatasetError, match="has no camera 'head'; it has ego, left_wrist, right_wrist"):
        data.pictures(0, 7, 3, "head")


def test_corrections_show_and_the_exported_files_keep_their_content(root):
    before = contents(root)
    data = ReviewData(root)
    brief = data.correct(0, "t_r", 36, "ann", expected=32)
    assert brief["stages"] == [["ROLLOUT", 0, 20], ["ADAPTATION", 20, 36], ["RECOVERY", 36, 46]]
    assert (brief["exported"]["t_r"], brief["corrected"], brief["undoable"]) == (32, ["t_r"], True)
    assert data.episode(0, "critic")["scores"]["outdated"]
    data.correct(0, "outcome", "failure", "ann", expected="success")
    assert [(line["field"], line["old"], line["new"], line["by"]) for line in data.brief(0)["history"]] == [
        ("t_r", 32, 36, "ann"),
        ("outcome", "success", "failure", "ann"),
    ]
    data.undo(0, "bob")
    brief = ReviewData(root).undo(0, "bob")
    assert brief["corrected"] == [] and brief["t_r"] == 32 and brief["outcome"] == "success" and not brief["undoable"]
    after = contents(root)
    assert after.pop(Path(corrections.FILE)) and after == before


def test_a_correction_that_cannot_be_is_answered_with_the_reason(server):
    wish = {"episode": 0, "field": "t_r", "value": 5, "expected": 32}
    assert server.ask("api/correct", wish) == (
        409,
        {"error": "t_r must come after the takeover at frame 20; frame 5 does not"},
    )
    assert (
        server.ask("api/correct", {**wish, "value": 36, "expected": 30})[1]["error"]
        == "t_r was corrected to 32 meanwhile; look again"
    )
    assert server.ask("api/correct", {**wish, "value": 36})[0] == 200
    assert server.ask("api/correct", {**wish, "episode": 9})[0] == 404
    for broken in ({}, [], {**wish, "more": 1}, {**wish, "episode": "0"}, {**wish, "value": None}):
        assert server.ask("api/correct", broken)[0] == 400
    assert server.ask("api/episode/0/pictures?start=0&count=1000")[0] == 400


def test_depth_and_length_are_refused_as_wrong_and_break_nothing(root, server):
    headers = {"Content-Type": "application/json"}
    number = "9" * 1000
    for data in (
        "[" * 2000,
        '{"episode": ' + number + "}",
        '{"episode": 99999999999}',
        '{"episode": -1e999}',
        "\udc80",
    ):
        raw = data.encode("utf-8", "surrogatepass")
        assert server.ask("api/undo", data=raw, headers=headers, method="POST")[0] in (400, 404), data[:40]
    for path in ("api/episode/" + "9" * 3000, "api/episode/0/pictures?start=" + number + "&count=1"):
        assert server.ask(path)[0] in (400, 404), path[:40]
    assert server.ask("api/dataset")[0] == 200


def test_corrections_that_cannot_be_written_are_not_claimed_stored(root, server):
    (root / corrections.FILE).mkdir()  # stands in for a read-only disk: who is root may write anywhere
    status, told = server.ask("api/undo", {"episode": 0})
    (root / corrections.FILE).rmdir()
    assert status >= 400 and "corrections.jsonl" in told["error"]


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_foreign_pages_are_refused(root, server, headers):
    assert server.ask("api/dataset", headers=headers)[0] == 403
    assert (
        server.ask(
            "api/correct", {"episode": 0, "field": "excluded", "value": True, "expected": False}, headers=headers
        )[0]
        == 403
    )
    assert not (root / corrections.FILE).exists()


def test_a_form_of_a_foreign_page_cannot_correct(root, server):
    body = json.dumps({"episode": 0, "field": "excluded", "value": True, "expected": False})

    assert server.ask("api/correct", data=body, headers={"Content-Type": "text/plain"}, method="POST")[0] == 415
    assert not (root / corrections.FILE).exists()


def test_what_is_wrong_with_a_dataset_is_said_before_it_serves(root, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rove_recorder.review.server", str(tmp_path / "nothing")], capture_output=True, text=True
    )
    assert done.returncode == 2 and "no dataset at" in done.stderr and "Traceback" not in done.stderr
    (root / corrections.FILE).write_text("garbage\n")
    done = subprocess.run(
        [sys.executable, "-m", "rove_recorder.review.server", str(root)], capture_output=True, text=True
    )
    assert done.returncode == 2 and "line 1 is no correction" in done.stderr


# -- in the browser
# -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (make setup installs it)")
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    page = browser.new_page(
        viewport={"width": 1280, "height": 800}, bypass_csp=True
    )  # conditions are evaluated as strings
    errors, foreign = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(server.url) else foreign.append(request.url))
    page.goto(server.url)
    ready(page)
    yield page
    page.close()
    assert errors == [] and foreign == []


def ready(page, episode=0):
    page.wait_for_function(f"window.review?.episode()?.index === {episode} && review.drawn() === review.frame()")


def hint(page, words):
    page.wait_for_function(f"document.querySelector('#hint').textContent.includes({json.dumps(words)})")


@pytest.mark.parametrize("size", [(800, 600), (800, 1100), (1180, 740)])
def test_a_small_window_shows_the_work_and_scrolls_down_to_the_rest_only(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing to scroll sideways"
    for what in ("#camera", "#play", "[data-do=set_t_r]", "[data-do=success]", "#exclude", "#undo", "#episodes"):
        box = page.locator(what).bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["height"] > 15, (what, box)
    first = page.locator("#camera").bounding_box()
    assert first["y"] + first["height"] <= size[1], "the picture is on the first screen"
    for strip in ("#timeline", "#joints"):
        assert page.locator(strip).bounding_box()["height"] >= 80, strip
    cut = page.evaluate("""() => [...document.querySelectorAll('.choices button, .title h1, #t_r, .transport .main')]
      .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent)""")
    assert cut == []


def test_filters_choose_the_episodes(page):
    def shown():
        return page.evaluate("review.shown()")

    assert shown() == [0, 1, 2]
    page.select_option("#f-stage", "RECOVERY")
    assert shown() == [0]
    page.click("#clear")
    page.select_option("#f-outcome", "failure")
    assert shown() == [1]
    page.click("#clear")
    page.select_option("#f-use", "excluded")
    assert shown() == [2]
    page.reload()
    ready(page)  # the open episode stays open though the filter hides it
    assert shown() == [2]
    page.click("#clear")
    page.keyboard.press("/")
    page.keyboard.type("aborted")
    assert shown() == [2]
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowDown")
    ready(page, 2)


def test_it_plays_and_stops_at_the_end_and_every_step_shows_another_picture(page):
    picture = "document.querySelector('#camera').toDataURL()"
    first = page.evaluate(picture)
    page.keyboard.press("Space")
    page.wait_for_function("review.playing() && review.drawn() > 5")
    assert page.evaluate(picture) != first
    page.wait_for_function("!review.playing() && review.drawn() === 45")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("review.drawn() === 44")
    page.keyboard.press("Home")
    page.wait_for_function("review.drawn() === 0")
    assert page.evaluate(picture) == first
    box = page.locator("#timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + 30)
    page.wait_for_function("review.drawn() > 15 && review.drawn() < 35")


def test_t_r_corrected_by_keyboard_is_there_after_a_reload_and_for_the_loader(page, root):
    from rove_learning.data.dataset import Dataset

    page.keyboard.press("r")
    page.wait_for_function("review.drawn() === 32")
    for frame in range(33, 37):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"review.drawn() === {frame}")
    page.keyboard.press("t")
    hint(page, "t_r: frame 32 · 1.60 s → frame 36 · 1.80 s; stored")
    page.keyboard.press("a")
    page.keyboard.press("t")
    hint(page, "t_r must come after the takeover at frame 20")
    page.reload()
    ready(page)
    assert page.locator("#t_r").text_content() == "frame 36 · 1.80 s"
    episode = Dataset(root).episodes[0]
    assert episode.t_r == 36 and episode.adaptation_end == 36


def test_outcome_and_exclusion_by_keyboard_and_undone(page, root):
    page.keyboard.press("f")
    hint(page, "outcome: success → failure; stored")
    page.keyboard.press("x")
    hint(page, "training: included → excluded; stored")
    assert page.locator("#episodes li.open").text_content().endswith("excluded✎")
    assert corrections.fixes(root, [ReviewData(root).row(0)])[0] == {"outcome": Outcome.FAILURE, "excluded": True}
    page.keyboard.press("z")
    hint(page, "training is included again")
    page.keyboard.press("z")
    hint(page, "outcome is success again")
    page.keyboard.press("z")
    hint(page, "no correction to undo")
    assert corrections.fixes(root, [ReviewData(root).row(0)])[0] == {} and len(corrections.read(root)) == 4


def test_an_episode_is_trimmed_split_renamed_and_deleted_by_keyboard_and_all_of_it_undone(page, root):
    def is_now(**wanted):
        row = correction_fields.exported(ReviewData(root).row(0))
        now = row | corrections.fixes(root, [row])[0]
        assert {key: now[key] for key in wanted} == wanted

    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("[")
    hint(page, "begin: frame 0 · 0.00 s → frame 2 · 0.10 s; stored")
    page.keyboard.press("r")
    page.keyboard.press("]")
    hint(page, "end: frame 45 · 2.25 s → frame 32 · 1.60 s; stored")
    page.keyboard.press("a")
    page.keyboard.press("k")
    hint(page, "split: none → frame 20 · 1.00 s; stored")
    assert page.locator("#cut").text_content() == "frames 2 to 32, split at 20"
    assert page.locator("#training").text_content() == "After bake"
    page.once("dialog", lambda dialog: dialog.accept("close the lid"))
    page.keyboard.press("n")
    hint(page, f"task: “{TASK}” → “close the lid”; stored")
    page.keyboard.press("Delete")
    hint(page, "episode: kept → deleted; stored")
    is_now(start=2, stop=33, split=20, task="close the lid", deleted=True)
    page.reload()
    ready(page)
    assert "deleted" in page.locator("#episodes li.open").text_content()
    for words in ("episode is kept", f"task is “{TASK}”", "split is none", "end is frame 45", "begin is frame 0"):
        page.keyboard.press("z")
        hint(page, words)
    is_now(start=0, stop=46, split=-1, task=TASK, deleted=False)
    page.keyboard.press("Home")
    page.keyboard.press("k")
    hint(page, "a split at frame 0 must leave 2 frames or more on both sides of it")


def test_value_joints_and_keys_are_drawn(page):
    page.wait_for_function("document.querySelector('#value-now').textContent.includes('V(s)')")
    picture = "document.querySelector('#joints').toDataURL()"
    before = page.evaluate(picture)
    for key in "23456":
        page.keyboard.press(key)
        now = page.evaluate(picture)
        assert now != before
        before = now
    page.keyboard.press("?")
    assert page.locator("#help p").count() > 20
    page.keyboard.press("Escape")


def test_a_server_that_is_gone_is_said_and_nothing_is_claimed_stored(browser, root):
    server = Server(root)
    page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
    page.goto(server.url)
    ready(page)
    assert server.stop() == 0
    page.keyboard.press("x")
    page.wait_for_selector("#lost:not([hidden])")
    assert page.locator("#training").text_content() == "Trained on"
    page.close()


def test_all_cameras_are_on_the_page_and_a_click_makes_another_one_large(browser, tmp_path):
    server = Server(three_cameras(tmp_path / "d"))
    page = browser.new_page(viewport={"width": 1280, "height": 800}, bypass_csp=True)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def greys():
        """Camera -> grey on the screen, the large one first."""
        return page.evaluate("""() => Object.fromEntries(
          [[review.large(), document.querySelector('#camera')],
           ...[...document.querySelectorAll('#tiles button')].map((e) => [e.dataset.camera, e.querySelector('canvas')])]
          .map(([name, canvas]) => [name, canvas.getContext('2d').getImageData(2, 2, 1, 1).data[0]]))""")

    try:
        page.goto(server.url)
        ready(page)
        for large, *small in (["ego", "left_wrist", "right_wrist"], ["right_wrist", "ego", "left_wrist"]):
            if large != "ego":
                page.click(f"#tiles button[data-camera={large}]")
            for frame in (0, 25):  # of another block of pictures than frame 0
                page.evaluate(f"document.activeElement.blur(), review.seek({frame})")
                ready(page)
                seen = greys()
                assert list(seen) == [large, *small] and page.locator("#camera-name").is_visible()
                assert all(abs(seen[name] - (GREY[name] + 2 * frame)) <= 3 for name in VIEWS), (frame, seen)
        picture = page.locator(".picture").bounding_box()
        for box in (tile.bounding_box() for tile in page.locator("#tiles button").all()):
            assert box["width"] < picture["width"] / 2 and box["x"] + box["width"] <= picture["x"] + picture["width"]
            assert box["y"] >= picture["y"] and box["y"] + box["height"] <= picture["y"] + picture["height"]
        page.keyboard.press("Home")
        page.keyboard.press(".")
        page.keyboard.press(".")
        page.keyboard.press(" ")
        page.wait_for_function("review.frame() === 29 && !review.playing() && review.drawn() === 29")
        assert all(abs(grey - (GREY[name] + 58)) <= 3 for name, grey in greys().items())
    finally:
        page.close()
        assert server.stop() == 0
    assert errors == []


def test_a_dataset_of_one_camera_shows_neither_tiles_nor_its_name(page):
    assert page.locator("#tiles").is_hidden() and page.locator("#camera-name").is_hidden()
