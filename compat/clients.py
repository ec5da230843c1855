"""redis-py as tests use it, but patient.

It gives up on a reply after five seconds. A busy machine may need longer, and timing
must not decide a test; whatever hangs fails all the same, a minute later.
"""

from __future__ import annotations

from typing import Any

import redis

from tests.patience import PATIENCE_S


def patient(**options: Any) -> redis.Redis:
    """`redis.Redis` with these options."""
    return redis.Redis(**{"socket_timeout": PATIENCE_S, **options})
