# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_supervisor"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed"], f"{name}.panel": ["page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=["rove_description", "rove_contract", "aiohttp", "numpy", "pyyaml"],
    extras_require={"test": ["hypothesis", "psutil", "pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="The mode machine of a session and its browser panel.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "supervisor = rove_supervisor.supervisor_node:main",
            "console = rove_supervisor.console.console:main",
            "evaluation = rove_supervisor.evaluation.command:main",
        ]
    },
)
