"""What pyproject.toml cannot say: layer_maps/ is installed inside porter/."""

from setuptools import find_packages, setup

packages = find_packages(include=["porter", "porter.*"], exclude=["porter.layer_maps"])
setup(
    packages=[*packages, "porter.layer_maps"],
    package_dir={"porter.layer_maps": "layer_maps"},
)
