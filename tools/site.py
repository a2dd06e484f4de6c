"""MkDocs hooks of the documentation site (mkdocs.yml): `make site`.

The pages are written to be read as plain Markdown beside the code. The site adds README.md (as its
first page), DESIGN.md, CONTRIBUTING.md, CHANGELOG.md and the reference of the Python API, and
copies each file of the repository that a page links to.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {
    "README.md": "index.md",
    "DESIGN.md": "DESIGN.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "benchmarks/RESULTS.md": "benchmarks/RESULTS.md",
}
"""Pages that are not in docs/, and where they are on the site."""

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)]*)?\)")

REFERENCE = """# Reference

::: porter.api

::: porter.conversion.pipeline.Conversion

::: porter.parity.compare.Report

::: porter.errors

## Layer maps

::: porter.maps
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/, the reference, and the files that pages link to."""
    for source, page in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference.md", content=REFERENCE))
    for page in files.documentation_pages():
        if page.src_uri.endswith(".md"):
            for target, _ in LINK.findall(page.content_string):
                linked = repository_path(page.src_uri, target)
                uri = f"repository/{linked}"
                if outside(linked) and (ROOT / linked).is_file() and uri not in files.src_uris:
                    files.append(File.generated(config, uri, abs_src_path=str(ROOT / linked)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""

    def on_the_site(link: re.Match[str]) -> str:
        target, heading = link.groups(default="")
        linked = repository_path(page.file.src_uri, target)
        if linked in BESIDE:
            uri = BESIDE[linked]
        elif not outside(linked):
            uri = os.path.relpath(linked, "docs")
        elif (ROOT / linked).is_file():
            uri = f"repository/{linked}"
        else:
            return "]"  # a folder: its name stays, without a link
        return f"]({os.path.relpath(uri, os.path.dirname(page.file.src_uri))}{heading})"

    return LINK.sub(on_the_site, markdown)


def repository_path(page: str, target: str) -> str:
    """Where a link of a page of the site leads in the repository."""
    beside = {page: source for source, page in BESIDE.items()}
    folder = os.path.dirname(beside.get(page, f"docs/{page}"))
    return os.path.normpath(os.path.join(folder, target))


def outside(path: str) -> bool:
    return not path.startswith("docs/") and path not in BESIDE
