# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_learning"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed", "configs/*.yaml", "weights/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=[
        "rove_description",
        "rove_contract",
        "rove_recorder",
        "rove_sim",
        "rove_teleop",
        "accelerate",
        "av",
        "h5py",
        "matplotlib",
        "mujoco",
        "numpy",
        "pyyaml",
        "safetensors",
        "scipy",
        "sentencepiece",
        "tokenizers",
        "torch",
        "tqdm",
        "transformers",
        "tyro",
    ],
    extras_require={
        "hub": ["huggingface-hub"],
        "mazes": ["gymnasium", "gymnasium-robotics"],
        "test": ["hypothesis", "pyarrow", "pytest"],
    },
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Optimistic value estimation, advantage labels and the flow-matching actor: Algorithm 1.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "train = rove_learning.train:main",
            "train_critic = rove_learning.train:train_critic",
            "label = rove_learning.train:label",
            "train_actor = rove_learning.train:train_actor",
            "collect = rove_learning.deployment.collect:main",
            "iterate = rove_learning.iterate:main",
            "compare_critics = rove_learning.report.compare_critics:main",
            "critic_quality = rove_learning.report.critic_quality:main",
            "evaluate = rove_learning.deployment.evaluate:main",
            "compare = rove_learning.report.compare:main",
            "reproduce = rove_learning.study.reproduce:main",
            "oracle_labels = rove_learning.study.oracle_labels:main",
            "report = rove_learning.report.run_report:main",
            "human_videos = rove_learning.deployment.human_videos:main",
            "interventions = rove_learning.deployment.interventions:main",
            "pretrain_backbone = rove_learning.training.pretrain_backbone:main",
        ]
    },
)
