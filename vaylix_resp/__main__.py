"""`python -m vaylix_resp` is the same program as `vaylix`."""

import sys

from vaylix_resp.cli import main

if __name__ == "__main__":
    sys.exit(main())
