# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_policy"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=[
        "rove_description",
        "rove_contract",
        "rove_recorder",
        "rove_learning",
        "aiohttp",
        "msgpack",
        "numpy",
        "torch",
        "tyro",
    ],
    extras_require={"test": ["hypothesis", "pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="The VLA action publisher: observation in, action chunks out.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "policy = rove_policy.policy_node:main",
            "serve = rove_policy.remote.server:main",
        ]
    },
)
