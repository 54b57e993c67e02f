from setuptools import setup

name = "rove_learning"

setup(
    name=name,
    version="0.1.0",
    packages=[name, f"{name}.offline"],
    package_data={name: ["configs/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    install_requires=[
        "rove_contract", "torch", "safetensors", "accelerate", "transformers", "tokenizers", "sentencepiece",
        "huggingface-hub", "pyarrow", "av", "tqdm", "tyro", "matplotlib", "pyyaml",
    ],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Optimistic value estimation, advantage labels and the flow-matching actor: Algorithm 1.",
    license="Apache-2.0",
    entry_points={"console_scripts": [
        "train = rove_learning.train:main",
        "train_critic = rove_learning.train_critic:main",
        "label = rove_learning.label:main",
        "train_actor = rove_learning.train_actor:main",
        "collect = rove_learning.collect:main",
        "iterate = rove_learning.iterate:main",
        "compare_critics = rove_learning.compare_critics:main",
        "evaluate = rove_learning.evaluate:main",
        "report = rove_learning.report:main",
        "human_videos = rove_learning.human_videos:main",
        "interventions = rove_learning.interventions:main",
    ]},
)
