# SPDX-License-Identifier: Apache-2.0
import re
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_bringup"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml", *sorted(glob("*.launch.yaml"))]),
        (f"share/{name}/params", sorted(glob("params/*.yaml"))),
        (f"share/{name}/foxglove", sorted(glob("foxglove/*.json"))),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=[
        "rove_description",
        "rove_contract",
        "rove_recorder",
        "rove_sim",
        "rove_supervisor",
        "rove_teleop",
        "rove_learning",
        "rove_policy",
        "honcho",
        "matplotlib",
        "numpy",
        "pyyaml",
        "pyzmq",
        "rosbags",
        "tyro",
    ],
    # colcon test runs pytest where a package says so
    extras_require={"hub": ["huggingface-hub"], "test": ["hypothesis", "psutil", "pytest", "scipy", "torch"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Launch files, node parameters and the `rove` runner of ROVE.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "rove = rove_bringup.cli:main",
            "robot_state = rove_bringup.robot_state_node:main",
        ]
    },
)
