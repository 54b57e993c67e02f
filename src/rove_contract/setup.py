from setuptools import setup

name = "rove_contract"

setup(
    name=name,
    version="0.1.0",
    packages=[name],
    package_data={name: ["*.csv"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
    ],
    install_requires=["numpy", "pillow"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROVE developers",
    maintainer_email="rove@example.org",
    description="Joints and limits, robot model, topics and QoS, modes, episode schema of ROVE.",
    license="Apache-2.0",
    entry_points={"console_scripts": []},
)
