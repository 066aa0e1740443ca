"""Packaging of vidrestore_jax; configs and experiments run from a checkout."""

import pathlib

from setuptools import find_packages, setup

setup(
    name="vidrestore_jax",
    version="0.1.0",
    description="Video restoration in JAX: train, measure, import and run it.",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    # Badges and first cells of experiments/notebooks follow it.
    url="https://github.com/vidrestore-jax/vidrestore_jax",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["vidrestore_jax", "vidrestore_jax.*"]),
    package_data={"vidrestore_jax": ["py.typed", "pretrained/*/*"]},
    # The accelerator's jax (jax[cuda13], jax[tpu]) is the user's to choose;
    # plain jax runs on the CPU. Lower bounds are the oldest versions tested.
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "clu>=0.0.12",
        "flatbuffers>=24.3",  # How jax.export writes and reads; jax omits it.
        "flax>=0.12",
        "grain>=0.2.18",
        "jax>=0.10,<0.13",
        "matplotlib>=3.9",
        "ml_collections>=1.1",
        "numpy>=2.1",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "pillow>=11",
        "safetensors>=0.5",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        "test": [
            "av>=18",
            "dm-pix>=0.4",  # Beside scikit-image, what metrics must equal.
            "imageio-ffmpeg>=0.6",  # FFmpeg's denoisers, to compare with.
            "ipykernel>=6.29",  # Runs experiments/notebooks, by nbclient.
            "nbclient>=0.10",
            "opencv-python-headless>=4.10",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            "scikit-image>=0.25",
            "scipy>=1.14",
        ],
        "video": ["av>=18"],  # Chapters and display matrices are written.
        # Converting needs no PyTorch; holding it against PyTorch's own reader
        # and layers, as some tests do, needs one.
        "convert": ["torch>=2.4"],
        "metrics": ["opencv-python-headless>=4.10"],
    },
    entry_points={"console_scripts": ["vidrestore=vidrestore_jax.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Video",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
