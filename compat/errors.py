"""`python -m compat.errors` writes ERRORS.md from `vaylix_resp.error_codes`; with --check it fails if they differ."""

from __future__ import annotations

import sys
from pathlib import Path

from compat.page import write_or_check
from vaylix_resp.error_codes import CODES

PAGE = Path(__file__).parents[1] / "ERRORS.md"
HAPPENED = {False: "no", True: "yes", None: "**unknown**"}


def page() -> str:
    rows = "".join(
        f"| `{one.code}` | {one.meaning} | {HAPPENED[one.happened]} | {one.advice} |\n"
        for one in sorted(CODES, key=lambda one: one.code)
    )
    return (
        "# Errors\n\n"
        "Written by `python -m compat.errors` from `vaylix_resp/error_codes.py`; do not edit. The first word of an"
        " error reply is its code: programs should look at that word only, the text behind it is for people. Where"
        " Redis has the error, code and text are those of Redis 7.2.\n\n"
        "**Every error but `INDETERMINATE` means that the request did not happen**, all of it: nothing is half-done."
        " An error among the replies of EXEC is that of one request; the others of the transaction happened, as in"
        " Redis. A connection that breaks before the reply has come leaves the same doubt as `INDETERMINATE`:"
        " versions (`SET ... IF VERSION`) make it safe to send a write again. `ERR internal error` is a bug of ours:"
        " please report it with the server's log, and read back what was written.\n\n"
        "| code | meaning | did it happen? | what the client should do |\n|---|---|---|---|\n" + rows
    )


if __name__ == "__main__":
    sys.exit(write_or_check("compat.errors", PAGE, page()))
