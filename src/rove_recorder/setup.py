# SPDX-License-Identifier: Apache-2.0
import re
from pathlib import Path

from setuptools import find_packages, setup

name = "rove_recorder"

setup(
    name=name,
    version=re.search("<version>(.+)</version>", Path(__file__).with_name("package.xml").read_text())[1],
    packages=find_packages(include=[name, f"{name}.*"]),
    package_data={name: ["py.typed"], f"{name}.review": ["page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    python_requires=">=3.11,<3.13",
    install_requires=[
        "rove_description",
        "rove_contract",
        "aiohttp",
        "av",
        "fsspec",
        "h5py",
        "lz4",
        "mcap",
        "numpy",
        "pyarrow",
        "pyyaml",
        "rosbags",
        "tqdm",
        "tyro",
        "zstandard",
    ],
    extras_require={"hub": ["huggingface-hub"], "scale": ["ray"], "test": ["hypothesis", "pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="One crash-safe MCAP bag per episode, recovery, and export to a LeRobot v3.0 dataset.",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "recorder = rove_recorder.recorder_node:main",
            "export = rove_recorder.export.export:main",
            "recover = rove_recorder.bag.recover:main",
            "review = rove_recorder.review.server:main",
            "import_video = rove_recorder.human_video.import_video:main",
            "import_egodex = rove_recorder.human_video.import_egodex:main",
            "merge = rove_recorder.dataset.merge:main",
            "import_lerobot = rove_recorder.lerobot_import.command:main",
            "export_labels = rove_recorder.dataset.label_formats:main",
            "bake = rove_recorder.dataset.bake:main",
            "edit = rove_recorder.review.edit:main",
            "quality = rove_recorder.dataset.quality:main",
        ]
    },
)
