"""What a server finds around it when it starts: how many files it may open.

Not here: what a single directive means (`config`), the order of starting (`app`).
"""

from __future__ import annotations

import resource
from typing import Final

from .config import Settings
from .observability import logs

log = logs.get_log("server")

RESERVED_FILES: Final = 64  # descriptors that are not clients: log, snapshots, listeners


def raise_file_limit(settings: Settings) -> None:
    """One descriptor per client and some more; lowers `maxclients` (and says so) where the system does not allow it."""
    wanted = settings.maxclients + RESERVED_FILES + (settings.tls_handshakes_max if settings.tls_port else 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        allowed = min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        settings.set_many([("maxclients", str(max(1, allowed - RESERVED_FILES)))])
        log.warning(f"the system allows {allowed} open files: maxclients is {settings.maxclients}; see `ulimit -n`")
