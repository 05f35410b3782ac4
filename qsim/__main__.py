"""``python -m qsim``."""

import sys

from qsim.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
