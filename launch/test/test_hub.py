# SPDX-License-Identifier: Apache-2.0
"""`rove push` and `rove pull` against a small Hub on this computer: what was pushed is what is pulled, and what cannot
be is refused in one sentence.
"""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
import yaml

from rove_bringup.hub import card, command, transfer
from rove_bringup.hub.contents import HubError
from rove_bringup.testing.hub_stand_in import TOKEN, Hub
from rove_contract.modes import Outcome
from rove_recorder.dataset import corrections
from rove_recorder.dataset.reader import LeRobotReader
from rove_recorder.export.export import export_bags
from rove_recorder.testing.synthetic import samples, write_bag

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for k, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE)):
        write_bag(folder / "bags" / f"e{k}", samples(f"e{k}", outcome=outcome))
    export_bags([folder / "bags"], folder / "data", workers=1, progress=False)
    return folder / "data"


@pytest.fixture
def dataset(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "data")


@pytest.fixture
def hub(monkeypatch):
    stand_in = Hub()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # The stand-in speaks the Hub's HTTP API; Xet, which replaces LFS between the Hub and its newest clients, is not it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield stand_in
    stand_in.close()


def contents(root):
    """{path: content} of what belongs to a dataset or checkpoint."""
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".")}


def push(root, hub, name="lab/erase", license_id="apache-2.0", **more):
    return transfer.push(root, name, license_id, endpoint=hub.address, **more)


def test_a_dataset_comes_back_byte_by_byte_and_can_be_read(dataset, hub, tmp_path):
    address, _ = push(dataset, hub)
    assert address.startswith(f"{hub.address}/datasets/lab/erase/commit/")
    pulled = transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)
    assert contents(tmp_path / "pulled") == contents(dataset)
    assert [row["episode_id"] for row in LeRobotReader(tmp_path / "pulled").episodes()] == ["e0", "e1"]
    assert pulled.facts["outcomes"] == "1 success, 1 failure"


def test_the_card_says_robot_task_counts_stages_success_licence_and_how_to_load(dataset, hub):
    row = LeRobotReader(dataset).episodes()[1]
    corrections.correct(dataset, row, None, "outcome", "success", "ann")
    push(dataset, hub)
    text = hub.repos["datasets", "lab/erase"]["README.md"].decode()
    metadata = card.read_metadata(text)
    assert metadata["license"] == "apache-2.0" and {"LeRobot", "iron_r01"} <= set(metadata["tags"])
    assert "iron_r01 (50 joints)" in text and "- erase the whiteboard" in text
    assert "| outcomes | 2 success |" in text, "with the correction applied"
    assert "| stages | rollout 43 %, adaptation 26 %, recovery 30 % |" in text
    assert "| interventions | 2 |" in text and "| corrected by a person | 1 |" in text
    assert "rove pull lab/erase runs/erase" in text and "LeRobotDataset('lab/erase')" in text


def test_a_second_push_updates_takes_away_what_is_gone_and_sends_no_scratch_files(dataset, hub, tmp_path):
    (dataset / "meta/advantages_old.parquet").write_bytes(b"old")
    (dataset / "segments").mkdir()
    (dataset / "segments/left.mp4").write_bytes(b"scratch")
    push(dataset, hub)
    assert "meta/advantages_old.parquet" in hub.repos["datasets", "lab/erase"]
    assert not [path for path in hub.repos["datasets", "lab/erase"] if path.startswith("segments")]
    transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)
    (dataset / "meta/advantages_old.parquet").unlink()
    push(dataset, hub, license_id="")  # the licence stands in the folder's card by now
    assert "meta/advantages_old.parquet" not in hub.repos["datasets", "lab/erase"]
    transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)  # up to date, into the same folder


def test_a_checkpoint_comes_back_with_a_card_that_tells_its_success(motionless_policy, hub, tmp_path):
    evaluation = {"successes": 17, "episodes": 20, "success_rate": 0.85, "wilson95": [0.64, 0.95]}
    evaluation |= {"config": {"task": "erase_whiteboard", "start_stage": "start"}}
    (motionless_policy / "evaluation.json").write_text(json.dumps(evaluation))
    push(motionless_policy, hub, "lab/policy", "mit")
    stored = hub.repos["models", "lab/policy"]
    text = stored["README.md"].decode()
    assert card.read_metadata(text)["license"] == "mit" and "iron_r01 (50 joints)" in text
    assert "17 of 20 episodes, 85 % (95 %: 64 to 95 %), erase whiteboard from start, simulated" in text
    assert str(motionless_policy.parent) not in text, "no paths of this computer"
    transfer.pull("lab/policy", tmp_path / "pulled", endpoint=hub.address)
    assert contents(tmp_path / "pulled") == contents(motionless_policy)


def test_without_a_licence_nothing_is_sent(dataset, hub):
    with pytest.raises(HubError, match=r"has no licence, and without a licence nobody may use it: give one as"):
        push(dataset, hub, license_id="")
    with pytest.raises(HubError, match="'My own terms' is no licence of the Hub's list"):
        push(dataset, hub, license_id="My own terms")
    assert hub.asked == []
    with pytest.raises(HubError, match=r"Invalid metadata in README.md"):
        push(dataset, hub, license_id="beerware-1")  # the Hub has the list


def test_a_damaged_folder_is_refused_before_anything_is_sent(dataset, motionless_policy, hub, tmp_path):
    with (motionless_policy / "actor.safetensors").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(HubError, match="SHA-256 differs"):
        push(motionless_policy, hub, "lab/policy")
    corrections.correct(dataset, LeRobotReader(dataset).episodes()[0], None, "excluded", True, "ann")
    (dataset / corrections.FILE).unlink()
    with pytest.raises(corrections.CorrectionError, match="was corrected in review, but"):
        push(dataset, hub)
    with pytest.raises(HubError, match="neither a dataset"):
        push(tmp_path, hub)
    assert hub.asked == []


def test_a_card_by_hand_stays_and_must_name_the_licence(dataset, hub):
    own = "---\nlicense: cc-by-4.0\n---\n\nOurs.\n"
    (dataset / card.FILE).write_text(own)
    with pytest.raises(HubError, match="is your own text; let its YAML block say `license: mit`"):
        push(dataset, hub, license_id="mit")
    push(dataset, hub, license_id="")
    assert hub.repos["datasets", "lab/erase"]["README.md"].decode() == own
    assert (dataset / card.FILE).read_text() == own


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no token", "the Hub does not know you, or lab/erase is not there for you: `hf auth login`, or set HF_TOKEN"),
        ("strangers", "your token may not do that with strangers/erase: it needs the right to push there"),
        ("no hub", "cannot be reached"),
        ("name", "'erase' is no name on the Hub, expected OWNER/NAME"),
    ],
)
def test_a_push_that_the_hub_refuses_ends_in_one_sentence(dataset, hub, monkeypatch, what, words):
    if what == "no token":
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    if what == "no hub":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            hub.address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    name = {"strangers": "strangers/erase", "name": "erase"}.get(what, "lab/erase")
    with pytest.raises(HubError) as caught:
        push(dataset, hub, name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_pull_that_cannot_be_ends_in_one_sentence_and_claims_nothing(dataset, hub, tmp_path):
    with pytest.raises(HubError, match=r"there is no lab/erase on http.*, or not for your token"):
        transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)
    push(dataset, hub)
    with pytest.raises(HubError, match="is not empty and was not pulled from the Hub"):
        transfer.pull("lab/erase", dataset, endpoint=hub.address)
    hub.cut.add("meta/info.json")
    with pytest.raises((HubError, ValueError), match=r"cannot pull lab/erase|info\.json"):
        transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)


def test_what_both_kinds_have_must_be_told_apart(dataset, motionless_policy, hub, tmp_path):
    push(dataset, hub)
    push(motionless_policy, hub)
    with pytest.raises(HubError, match="lab/erase is a dataset and a checkpoint; say which with --kind"):
        transfer.pull("lab/erase", tmp_path / "pulled", endpoint=hub.address)
    assert transfer.pull("lab/erase", tmp_path / "pulled", kind="checkpoint", endpoint=hub.address).tasks


def test_the_command_line_uses_hf_endpoint_and_ends_with_status_2_where_it_is_refused(dataset, hub, capsys):
    environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    words = [sys.executable, "-m", "rove_bringup.cli", "push", str(dataset), "lab/erase", "--license", "mit"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"dataset {dataset} -> {hub.address}/datasets/lab/erase/commit/" in done.stdout
    assert "note: its episodes name their operators: op" in done.stdout
    assert yaml.safe_load(hub.repos["datasets", "lab/erase"]["README.md"].decode().split("---")[1])["license"] == "mit"
    assert command.main("push", [str(dataset.parent / "nothing"), "lab/erase", "--license", "mit"]) == 2
    assert capsys.readouterr().err.startswith("rove push: ")
