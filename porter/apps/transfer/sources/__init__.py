"""Weight files that descriptors are made of: one module a format, recognised by content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from porter.apps.transfer.source import DescriptorSource, Opening
from porter.errors import UsageError, WeightError
from porter.system.input_files import require_file

HDF5 = b"\x89HDF\r\n\x1a\n"
NPY = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
KINDS = (
    "a Torch .t7, a converted folder, a .caffemodel with its prototxt, weights as .npz or .npy, "
    "or a Keras .h5 or .keras"
)


def open_file(path: Path, opening: Opening) -> DescriptorSource:
    """The source in a file or folder. Raises UsageError, WeightError or T7Error."""
    if not path.exists():
        raise UsageError(f"there is no file or folder '{path}'")
    if not path.is_dir() and require_file(path).stat().st_size == 0:
        raise WeightError("the file is empty", where=path.name, hint="download it again")
    return opener(path)(path, opening)


def opener(path: Path) -> Callable[[Path, Opening], DescriptorSource]:
    """Who opens a path."""
    if path.is_dir():
        from porter.apps.transfer.sources.saved_model import open_saved_model

        return open_saved_model
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(HDF5):
        from porter.apps.transfer.sources.keras_weights import open_h5

        return open_h5
    if start.startswith(NPY):
        from porter.apps.transfer.sources.numpy_files import open_npy

        return open_npy
    if start.startswith(ZIP):
        return zipped(path)
    if path.suffix in (".caffemodel", ".prototxt"):
        from porter.apps.transfer.sources.caffe import open_caffe

        return open_caffe
    reason = foreign(path, start)
    if reason is not None:
        raise WeightError(reason, where=path.name, hint=f"a descriptor is {KINDS}")
    from porter.apps.transfer.sources.torch_file import open_torch

    return open_torch


def zipped(path: Path) -> Callable[[Path, Opening], DescriptorSource]:
    """Of the formats that are zip archives, NumPy's and Keras's."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise WeightError(
            "the archive is truncated or damaged: its list of contents at the end is missing",
            where=path.name,
            received=f"{path.stat().st_size:,} bytes",
            hint="download it again, and compare the size with the server's",
        ) from error
    if "config.json" in names:
        from porter.apps.transfer.sources.keras_model import open_keras

        return open_keras
    if any(name.endswith(".npy") for name in names):
        from porter.apps.transfer.sources.numpy_files import open_npz

        return open_npz
    what = "a PyTorch file" if any(n.endswith("data.pkl") for n in names) else "a zip archive"
    raise WeightError(
        f"{what} of {len(names)} members, and no weights of a known layout",
        where=path.name,
        received=", ".join(names[:4]),
        hint=f"a descriptor is {KINDS}",
    )


def foreign(path: Path, start: bytes) -> str | None:
    """What a file is that people take for weights, or None."""
    text = start.lstrip()[:32].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "this is a web page: the download got a login or an error page instead of the file"
    if text.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer: the weights themselves were not fetched"
    if path.suffix == ".mat" or start.startswith(b"MATLAB"):
        return "this is a MATLAB file (MatConvNet's imagenet-vgg-verydeep), which is not read here"
    if path.suffix in (".pth", ".pt"):
        return "this is a PyTorch file, which is not read here"
    if path.suffix == ".pb":
        return "this is a TensorFlow graph without its folder"
    return None
