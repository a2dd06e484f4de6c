"""The published systems of the Torch7 years: what each is fed, and how to tell one by its file.

`systems.toml` is the one source: `porter zoo` lists it, `porter inspect` names a net by it, and
`tools/zoo_page.py` writes docs/zoo.md from it.
"""
