# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_description"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed", "robots/*/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=["mujoco", "numpy", "opencv-python-headless", "pyyaml"],
    extras_require={"test": ["hypothesis", "pytest", "scipy"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Robots as data: joints and limits, model, kinematics.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["check = rove_description.check:main"]},
)
