"""`python cli.py …` in a clone is what `porter …` is where it is installed."""

import sys

from porter.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
