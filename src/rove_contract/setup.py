# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_contract"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed", "*.xml"], f"{name}.web": ["page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=["rove_description", "aiohttp", "msgpack", "numpy", "opencv-python-headless"],
    extras_require={"test": ["hypothesis", "psutil", "pytest", "rosbags"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Topics and QoS, modes, episode schema of ROVE.",
    license="Apache-2.0",
    entry_points={"console_scripts": []},
)
