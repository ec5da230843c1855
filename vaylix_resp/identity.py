"""Who we say we are: the names and versions that HELLO, INFO and LOLWUT report.

Clients gate features on `redis_version`, so it names the Redis whose commands and replies we give.
Not here: what one running server is called (its run id is made at start).
"""

from __future__ import annotations

from typing import Final

from . import __version__

REDIS_VERSION: Final = "7.2.4"
VAYLIX_VERSION: Final = __version__
SERVER_NAME: Final = "vaylix"
HELLO_SERVER: Final = "redis"  # HELLO's `server`: client libraries compare it with this word
