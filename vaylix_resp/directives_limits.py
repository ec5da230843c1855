"""The part of the table of directives that says how much clients may ask for: rates, sizes, transactions.

All are off, or as generous as a batch of the log allows, so that nobody who comes from Redis is surprised. Whoever
passes one gets an error that names it.
Not here: limits that Redis has, such as `maxclients` (`directives`); what the limits do (`security.limits`,
`server.sizes`, `commands.transactions`); all of them side by side (docs/limits.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from vaylix_resp.config_rates import Row, UserLimits
from vaylix_resp.config_values import INT32_MAX, Integer, Memory
from vaylix_resp.directive import setting
from vaylix_resp.directives_cluster import ClusterTable
from vaylix_resp.limits import KIB, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX

LIMITS = "limits"


@dataclass(slots=True, repr=False, eq=False)
class LimitsTable(ClusterTable):
    """Every limit that is ours with its default; `directives.Table` is the whole."""

    client_requests_per_second: int = setting(
        Integer(0), 0, LIMITS, "of one connection; further ones get -LIMIT; 0 = no limit", unit="requests per second"
    )
    client_requests_burst: int = setting(
        Integer(0), 0, LIMITS, "what one connection may send at once after a pause; 0 = a second's worth",
        unit="requests",
    )  # fmt: skip
    client_bytes_per_second: int = setting(
        Memory(1, INT32_MAX, zero=True), 0, LIMITS, "received of one connection; then it gets -LIMIT; 0 = no limit",
        unit="bytes per second",
    )  # fmt: skip
    user_limit: tuple[Row, ...] = setting(
        UserLimits(), (), LIMITS, "what all connections of a user, of each holder of a role, or of anybody may ask for"
    )
    key_size_max: int = setting(
        Memory(1, VALUE_BYTES_MAX, zero=True), 0, LIMITS,
        "longest key that a write may create or change; 0 = as proto-max-bulk-len", unit="bytes",
    )  # fmt: skip
    value_size_max: int = setting(
        Memory(1, VALUE_BYTES_MAX, zero=True), 0, LIMITS,
        "longest value that a write may make; 0 = as proto-max-bulk-len", unit="bytes",
    )  # fmt: skip
    command_keys_max: int = setting(
        Integer(0), 0, LIMITS, "keys that one command may name; 0 = no limit", unit="keys"
    )
    transaction_commands_max: int = setting(
        Integer(0), 0, LIMITS, "commands that MULTI may queue; 0 = no limit", unit="commands"
    )
    transaction_bytes_max: int = setting(
        Memory(KIB, TRANSACTION_BYTES_MAX), TRANSACTION_BYTES_MAX, LIMITS,
        "what MULTI may queue, and as much again may be watched", unit="bytes",
    )  # fmt: skip
    transaction_seconds_max: int = setting(
        Integer(0), 0, LIMITS, "from MULTI to EXEC, which fails then; 0 = no limit", unit="seconds"
    )
    watch_seconds_max: int = setting(
        Integer(0), 0, LIMITS, "from WATCH to EXEC, which fails then; 0 = no limit", unit="seconds"
    )
