"""Weight files that descriptors are made of: one module a format, recognised by content."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from porter.apps.transfer.source import DescriptorSource, Opening
from porter.errors import UsageError, WeightError
from porter.system.input_files import require_file

ZIP = b"PK\x03\x04"
BY_SIGNATURE = {
    b"\x89HDF\r\n\x1a\n": "keras_weights.open_h5",
    b"\x93NUMPY": "numpy_files.open_npy",
    b"MATLAB 5.0": "matconvnet.open_mat",
    # torch.save before it wrote zip archives (torch/serialization.py, MAGIC_NUMBER).
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": "state_dict.open_pth",
}
"""Module and function that open a file, by how it begins."""
BY_SUFFIX = {
    ".caffemodel": "caffe.open_caffe",
    ".prototxt": "caffe.open_caffe",
    ".safetensors": "state_dict.open_safetensors",
}
KERAS = "keras:"
"""In front of the name of a network of keras.applications."""
KINDS = (
    "a Torch .t7, a converted folder, a .caffemodel with its prototxt, weights as .npz or .npy, "
    "a Keras .h5 or .keras, PyTorch's .pth or .safetensors, MatConvNet's .mat, or keras:NAME"
)


def is_name(path: Path) -> bool:
    """Whether this names a network of Keras's, and no file."""
    return str(path).startswith(KERAS)


def open_file(path: Path, opening: Opening) -> DescriptorSource:
    """The source in a file or folder, or of a name. Raises UsageError, WeightError or T7Error."""
    if is_name(path):
        return call("keras_applications.open_application", path, opening)
    if not path.exists():
        raise UsageError(f"there is no file or folder '{path}'")
    if not path.is_dir() and require_file(path).stat().st_size == 0:
        raise WeightError("the file is empty", where=path.name, hint="download it again")
    return call(opener(path), path, opening)


def call(opener: str, path: Path, opening: Opening) -> DescriptorSource:
    """Run the function of a module of this package."""
    module, function = opener.split(".")
    source: DescriptorSource = getattr(import_module(f"{__name__}.{module}"), function)(
        path, opening
    )
    return source


def opener(path: Path) -> str:
    """Module and function that open a path."""
    if path.is_dir():
        return "saved_model.open_saved_model"
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(ZIP):
        return zipped(path)
    for signature, function in BY_SIGNATURE.items():
        if start.startswith(signature):
            return function
    if path.suffix in BY_SUFFIX:
        return BY_SUFFIX[path.suffix]
    reason = foreign(path, start)
    if reason is not None:
        raise WeightError(reason, where=path.name, hint=f"a descriptor is {KINDS}")
    return "torch_file.open_torch"


def zipped(path: Path) -> str:
    """Of the formats that are zip archives, NumPy's, Keras's and PyTorch's."""
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
        return "keras_model.open_keras"
    if any(name.endswith(".npy") for name in names):
        return "numpy_files.open_npz"
    if any(name.endswith("data.pkl") for name in names):
        return "state_dict.open_pth"
    raise WeightError(
        f"a zip archive of {len(names)} members, and no weights of a known layout",
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
        return "this is no MATLAB file of level 5, as MatConvNet's imagenet-vgg-verydeep are"
    if path.suffix in (".pth", ".pt"):
        return "this is no file that torch.save wrote: neither a zip archive nor its older format"
    if path.suffix == ".pb":
        return "this is a TensorFlow graph without its folder"
    return None
