# SPDX-License-Identifier: Apache-2.0
"""docs/how-to/add-a-labelling-method.md is followed to the letter: its function, its line, a run with it."""

import re
import textwrap
from dataclasses import replace
from pathlib import Path

from rove_learning.algorithm.methods import METHODS, Method
from rove_learning.config import TrainConfig
from rove_learning.testing.synthetic import ACTOR, CRITIC
from rove_learning.train import train

DOC = Path(__file__).resolve().parents[4] / "docs" / "how-to" / "add-a-labelling-method.md"


def test_a_new_method_is_a_function_and_a_line(mixed, tmp_path, monkeypatch):
    text = DOC.read_text(encoding="utf-8")
    names = {"Method": Method}
    exec(textwrap.dedent(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]), names)
    (line,) = re.findall(r'`("successes": Method\(.*?\)),`', text)
    (method,) = eval("{" + line + "}", names).values()
    monkeypatch.setitem(METHODS, "successes", method)
    actor = replace(ACTOR, steps=2, steps_next=2, batch=4)
    critic = replace(CRITIC, mc_steps=2, steps=2, batch=4)
    config = TrainConfig((str(mixed),), str(tmp_path), threads=1, actor=actor, critic=critic, method="successes")
    summary = train(config, progress=False)
    assert summary["method"] == "successes" and 0 < summary["kept"] < 1 and summary["condition_effect_rad"] >= 0
