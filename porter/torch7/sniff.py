"""Tells what a file is that is not a Torch7 file, and what its owner should do next.

People rename PyTorch checkpoints to `.t7`, save download pages instead of models, and clone
repositories without git LFS. A binary `.t7` starts with one of the bytes 0 to 8 and three zeros,
an ASCII one with such a digit and a newline; nothing below starts so.
"""

from __future__ import annotations

import re

USE_TORCH_LOAD = "Load it with torch.load in PyTorch; porter reads models saved by Lua Torch7."
GET_THE_MODEL = "Get the model file itself; this may be what a failed download left behind."

JSON_HINT = (
    "Get the .t7 itself; the only JSON that porter reads is waifu2x's, a list of convolutions."
)

Diagnosis = tuple[str, str]

# First bytes -> (what it is, what to do next). Longer signatures come before their prefixes.
_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        "a PyTorch checkpoint (pickle)",
        USE_TORCH_LOAD,
    ),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras .h5 perhaps)", "Load it with Keras or h5py."),
    (b"\x93NUMPY", "a NumPy array (.npy)", "Load it with numpy.load."),
    (b"version https://git-lfs", "a git LFS pointer", "Run `git lfs pull` to fetch the real file."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first: gunzip, or tar xzf for a .tar.gz."),
    (b"BZh", "a bzip2 archive", "Unpack it first with bunzip2."),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first with unxz."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it first with 7z x."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it first with unrar x."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first with unzstd."),
    (b"\x1bLJ", "LuaJIT bytecode", "This is a program; look for the model that it loads."),
    (b"\x1bLu", "Lua bytecode", "This is a program; look for the model that it loads."),
    (b"\x89PNG", "a PNG image", GET_THE_MODEL),
    (b"\xff\xd8\xff", "a JPEG image", GET_THE_MODEL),
    (b"GIF8", "a GIF image", GET_THE_MODEL),
    (b"BM", "a BMP image", GET_THE_MODEL),
    (b"II*\x00", "a TIFF image", GET_THE_MODEL),
    (b"MM\x00*", "a TIFF image", GET_THE_MODEL),
    (b"%PDF", "a PDF document", GET_THE_MODEL),
    (b"\x7fELF", "a program or library", GET_THE_MODEL),
)

_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[a-z_][\w.]*\n\w[\w.]*\n|\((?:dp|lp|tp|i\w)")
_BIG_ENDIAN = re.compile(rb"\x00\x00\x00[\x01-\x08]")
_SAFETENSORS = re.compile(rb'[\x00-\xff]{8}\{\s*"')
_HTML = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_JSON = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[\[\]{"0-9-])')
_WAIFU2X = re.compile(
    rb'\s*\[\s*\{\s*"(?:n(?:In|Out)putPlane|[kd][WH]|pad[WH]|dilation[WH]|weight|bias|class_name|'
    rb'model_config)"\s*:'
)
_LUA = re.compile(rb"\s*(?:--|#!.*\b(?:th|lua)|(?:local|require|return|function)\b)")
_PROTOTXT = re.compile(rb'(?:^|\n)\s*(?:name\s*:\s*"|layers?\s*\{|input(?:_dim)?\s*:)')
# Protobuf: field number and wire type in the low bits, then the field itself.
_SAVED_MODEL = re.compile(rb"\x08\x01\x12[\x00-\xff]{1,5}\x0a")
_GRAPH_DEF = re.compile(rb"\x0a[\x00-\xff]{1,5}\x0a[\x00-\xff]{1,2}[\w/.-]+\x12[\x00-\xff][A-Z]\w+")
_ONNX = re.compile(rb"\x08[\x01-\x14](?:\x12[\x00-\xff]|\x1a|\x3a|\x42)")
_CAFFEMODEL = re.compile(rb"\x0a[\x01-\x7f][\x20-\x7e]{2,127}(?:[\x12\x1a\x20\x28]|\xa2\x06)")

_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")
_TEXT = re.compile(rb"[\t\n\v\f\r\x20-\x7e\x80-\xff]+")


def diagnose(head: bytes, size: int) -> Diagnosis | None:
    """(what the file is, what to do next), or None where it may be a Torch7 file.

    `head` is the first few kilobytes (at most), `size` the length of the whole file in bytes.
    """
    if size == 0:
        return "an empty file", GET_THE_MODEL
    if is_binary(head) or is_ascii(head):
        return _zeros(head, size)
    for signature, kind, hint in _SIGNATURES:
        if head.startswith(signature):
            return kind, hint
    return _container(head) or _protobuf(head) or _text(head)


def is_binary(head: bytes) -> bool:
    """Whether this starts like a little-endian binary `.t7`: an object type from 0 to 8."""
    return head[:1] <= b"\x08" and (head[1:4] == b"\0\0\0" or (len(head) < 4 and not any(head[1:])))


def is_ascii(head: bytes) -> bool:
    """Whether this starts like an ASCII `.t7`: an object type on a line of its own."""
    return re.match(rb"[0-8](?:\s|\Z)", head) is not None


def is_waifu2x_json(head: bytes) -> bool:
    """Whether this starts like the weights that waifu2x exports, whose keys stand in any order."""
    return _WAIFU2X.match(head) is not None


def is_big_endian(head: bytes) -> bool:
    """Whether this starts like a `.t7` written with `File:bigEndianEncoding()`."""
    return _BIG_ENDIAN.match(head) is not None


def _zeros(head: bytes, size: int) -> Diagnosis | None:
    if size > 4 and not any(head):
        return "a file that starts with nothing but zero bytes", GET_THE_MODEL
    return None


def _container(head: bytes) -> Diagnosis | None:
    if head.startswith(b"PK\x03\x04"):
        return _zip(head)
    if _PICKLE.match(head):
        return "a Python pickle (a PyTorch checkpoint, most likely)", USE_TORCH_LOAD
    if head[257:262] == b"ustar":
        return "a tar archive", "Unpack it first with tar xf."
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP image", GET_THE_MODEL
    if _SAFETENSORS.match(head):
        return "a safetensors file", "Load it with the safetensors package."
    return None


def _zip(head: bytes) -> Diagnosis:
    if b"/data.pkl" in head or b"/version" in head or b"archive/" in head:
        return "a PyTorch checkpoint (zip, PyTorch 1.6 or newer)", USE_TORCH_LOAD
    if b"metadata.json" in head or b"config.json" in head or b"model.weights.h5" in head:
        return "a Keras model (.keras)", "Load it with keras.models.load_model."
    if b".npy" in head:
        return "a NumPy archive (.npz)", "Load it with numpy.load."
    return "a zip archive", "Unpack it first; if it is a PyTorch checkpoint, use torch.load."


def _protobuf(head: bytes) -> Diagnosis | None:
    if _SAVED_MODEL.match(head):
        return "a TensorFlow SavedModel (.pb)", "It is TensorFlow already: tf.saved_model.load."
    if _GRAPH_DEF.match(head):
        return "a TensorFlow graph (.pb)", "It is TensorFlow already: tf.import_graph_def."
    if _ONNX.match(head):
        return "an ONNX model", "Use an ONNX converter, or onnxruntime."
    if _CAFFEMODEL.match(head):
        return "a Caffe model (.caffemodel) or other protobuf", "Use a Caffe converter."
    return None


def _text(head: bytes) -> Diagnosis | None:
    if head.startswith(_BYTE_ORDER_MARKS):
        return "a Unicode text file", GET_THE_MODEL
    if not _TEXT.fullmatch(head):
        return None
    if _HTML.match(head):
        return "a web page", "The download got a page instead of the model: use the direct link."
    if _JSON.match(head):
        return "a JSON file", JSON_HINT
    if _PROTOTXT.search(head):
        return "a Caffe prototxt", "It describes a Caffe network, without Torch7 weights."
    if _LUA.match(head):
        return "Lua source", "This is a program; look for the model that it loads or saves."
    if all(byte < 0x80 for byte in head) or _is_utf8(head):
        return "a text file", GET_THE_MODEL
    return None


def _is_utf8(head: bytes) -> bool:
    return head.decode("utf-8", "ignore").encode("utf-8").startswith(head[: len(head) - 3])
