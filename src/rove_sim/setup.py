# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_sim"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed", "assets/*.xml", "tasks/*/*.xml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=["rove_description", "rove_contract", "mujoco", "numpy", "pyzmq", "scipy"],
    extras_require={"test": ["hypothesis", "msgpack", "pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description=(
        "Simulated IRON-R01 in MuJoCo: robot node, whiteboard task, ego camera, scripted operator and supervisor."
    ),
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "robot = rove_sim.robot_node:main",
            "scripted_operator = rove_sim.scripted_operator_node:main",
            "scripted_supervisor = rove_sim.scripted_supervisor_node:main",
        ]
    },
)
