# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_teleop"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={
        name: ["py.typed"],
        f"{name}.sources": ["webxr_page/*", "browser_page/*"],
        f"{name}.practice": ["page/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=[
        "rove_description",
        "rove_contract",
        "aiohttp",
        "cryptography",
        "msgpack",
        "mujoco",
        "numba",
        "numpy",
        "psutil",
        "pyzmq",
        "scipy",
    ],
    extras_require={"test": ["hypothesis", "pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Operator inputs, retargeting to 50 joints, and the command filter.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "teleop = rove_teleop.teleop_node:main",
            "command_filter = rove_teleop.command_filter_node:main",
            "calibrate = rove_teleop.practice.calibrate:main",
            "preview = rove_teleop.practice.preview:main",
            "keys = rove_teleop.sources.curve:main",
        ]
    },
)
