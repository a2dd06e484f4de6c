"""Execute the notebooks of docs/ and keep their outputs, as the site shows them.

    python tools/notebooks.py            execute all, and save what they print and show
    python tools/notebooks.py NAME …     these, such as texture_network

The tests execute them too, and save nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def execute(path: Path) -> Any:
    """The notebook as executed in its own folder. Raises CellExecutionError if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=None, resources={"metadata": {"path": path.parent}})
    client.execute()
    return tidied(notebook)


def tidied(notebook: Any) -> Any:
    """Without what differs from run to run: times of cells, and what TensorFlow logs."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
    return notebook


def main(names: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            print(path.name, flush=True)
            nbformat.write(execute(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
