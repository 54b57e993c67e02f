from setuptools import setup

name = "rove_recorder"

setup(
    name=name,
    version="0.1.0",
    packages=[name],
    package_data={name: ["review_page/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    install_requires=[
        "rove_contract", "numpy", "aiohttp", "mcap", "rosbags", "zstandard", "lz4", "pyarrow", "av", "pillow", "pyyaml", "tqdm", "tyro",
        "h5py", "fsspec",
    ],  # fmt: skip
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="One crash-safe MCAP bag per episode, recovery, and export to a LeRobot v3.0 dataset.",
    license="Apache-2.0",
    entry_points={"console_scripts": [
        "recorder = rove_recorder.recorder_node:main",
        "export = rove_recorder.export:main",
        "recover = rove_recorder.recover:main",
        "review = rove_recorder.review:main",
        "import_video = rove_recorder.import_video:main",
        "import_egodex = rove_recorder.import_egodex:main",
        "merge = rove_recorder.merge:main",
        "quality = rove_recorder.quality:main",
    ]},
)
