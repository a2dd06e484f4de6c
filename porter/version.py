"""porter's own version: the one place where it stands; `pyproject.toml` takes it from here.

A constant, since asking the installed package's metadata takes longer than all else of
`porter --version`.
"""

VERSION = "0.1.0"
