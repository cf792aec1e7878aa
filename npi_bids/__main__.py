"""Run the command line as ``python -m npi_bids``."""

import sys

from npi_bids.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
