# SPDX-License-Identifier: Apache-2.0
"""A new task is one folder and one row of the registry: collection, interventions, evaluation and videos then play it.

The task here is tiny: push a button with the right palm. docs/how-to/add-a-task.md walks through the same files.
"""

import textwrap

import numpy as np
import pytest

from rove_contract.modes import Outcome, Stage
from rove_sim.tasks import task as tasks

FILES = {
    "__init__.py": '"""Push the button."""\n',
    "scene.xml": """
        <mujoco>
          <worldbody>
            <body name="button" pos="0.40 -0.20 1.0">
              <geom name="button" type="cylinder" size="0.04 0.01" rgba="0.9 0.1 0.1 1" contype="0" conaffinity="0"/>
            </body>
          </worldbody>
        </mujoco>""",
    "world.py": """
        from pathlib import Path

        import numpy as np

        from rove_sim.world import World


        class ButtonWorld(World):
            name, start_stages = "push_button", ("start",)
            milestones = ("nothing done", "button pushed")
            scene = Path(__file__).with_name("scene.xml")

            def place(self, rng, start_stage):
                self.settle(0.1)
                self.pushed = False

            def after_step(self):
                self.pushed = self.pushed or self.distance() < 0.03

            def distance(self):
                palm = self.data.site("right_palm").xpos
                return float(np.linalg.norm(palm - self.data.body("button").xpos))

            def task_state(self):
                near = float(np.clip(1.0 - self.distance() / 0.4, 0.0, 1.0))
                return {"button": self.pose_of("button")[0].tolist(), "milestone": int(self.pushed),
                        "progress": 1.0 if self.pushed else 0.9 * near, "success": self.pushed, "recoverable": True}
        """,
    "manner.py": """
        from dataclasses import dataclass, field

        import numpy as np


        @dataclass
        class Manner:
            speed: float = 1.0
            tolerance: float = 1.0
            grasp_offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
        """,
    "expert.py": """
        import numpy as np

        from rove_sim.steering import HandSteering
        from rove_sim.tasks.push_button.manner import Manner

        PALM = np.array([0.0, 0.035, -0.085])


        class Expert:
            def __init__(self, kinematics, rng, period_s=0.05, manner=None):
                self.period, self.manner = period_s, manner or Manner()
                self.steering = HandSteering(kinematics, PALM, {}, {}, period_s)
                self.phase, self.waiting_s = "reach", 0.0

            def reset(self, q):
                self.steering.reset(q)

            def hesitate(self, seconds):
                self.waiting_s = seconds

            def draw_back(self, seconds, distance=0.06):
                self.waiting_s = seconds

            def target(self, q, state):
                measured = self.steering.measure(q)
                self.waiting_s -= self.period
                goal = np.array(state["button"]) + self.manner.grasp_offset
                if self.waiting_s > 0.0:
                    goal = self.steering.position
                turn = self.steering.rotation
                return self.steering.move(goal, turn, 0.0, measured, self.manner.speed, goal)
        """,
    "watch.py": """
        from rove_sim.people.watching import Watch


        class TaskWatch(Watch):
            def advance(self, state):
                return state["progress"]

            def trouble(self, state, now):
                return ""
        """,
    "people.py": """
        import numpy as np

        FORCES, MISTAKES = (), ()


        def perceive(state, error):
            return state | {"button": (np.array(state["button"]) + error[1]).tolist()}
        """,
}


@pytest.fixture
def button(tmp_path, monkeypatch):
    """The folder and the row."""
    folder = tmp_path / "push_button"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(textwrap.dedent(text))
    import rove_sim.tasks

    monkeypatch.setattr(rove_sim.tasks, "__path__", [*rove_sim.tasks.__path__, str(tmp_path)])
    task = tasks.Task(
        "push_button",
        "push the button",
        ("start",),
        ("nothing done", "button pushed"),
        world="world:ButtonWorld",
        limit_s=10.0,
    )
    monkeypatch.setattr(tasks, "TASKS", (*tasks.TASKS, task))
    return task


def test_a_task_of_one_folder_and_one_row_is_collected_filmed_and_evaluated(button):
    from rove_learning.deployment.collect import CollectConfig
    from rove_learning.deployment.collect import make_worker as make_demonstrator
    from rove_learning.deployment.human_videos import VideoConfig
    from rove_learning.deployment.human_videos import make_worker as make_film

    demonstration = make_demonstrator(CollectConfig("unused", task=button.name, image_size=32))(1000)["frames"]
    assert demonstration["outcome"] == Outcome.SUCCESS and set(demonstration["stage"]) == {Stage.DEMONSTRATION}
    video = make_film(VideoConfig("unused", task=button.name, image_size=32))(40_000)
    assert video["state"] is None and len(video["images"]) > 5


def test_its_interventions_are_played_by_the_same_people(button):
    from rove_learning.deployment.simulation import FilterDrive
    from rove_sim.episode import play_episode
    from rove_sim.people.operator import CREW, Operator
    from rove_sim.people.supervision import Patience, Supervision

    world, rng = button.make_world(32), np.random.default_rng(0)
    episode = play_episode(
        world,
        FilterDrive(world),
        Supervision(button, "rollout", 1, Patience(patience_s=0.5), rng=rng),
        seed=0,
        start_stage="start",
        policy=lambda images, q: np.tile(q, (50, 1)),
        operator=Operator(button, CREW[0], rng, 0.05, world.table),
        cameras=(),
    )
    world.close()
    assert episode.outcome is Outcome.SUCCESS and episode.takeover > 0 and episode.t_r > episode.takeover
