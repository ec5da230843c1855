"""Directives of logs and measures: part of the one table.

Not here: the other rows (`directives`), the logs themselves (`observability`), what to make of them (docs/latency.md).
"""

from __future__ import annotations

from dataclasses import dataclass

from vaylix_resp.config_values import INT64_MAX, Integer, OneOf, Text, YesNo
from vaylix_resp.config_words import Addresses, Percentiles
from vaylix_resp.directive import setting
from vaylix_resp.directives_audit import AuditTable
from vaylix_resp.limits import MIB

LOGS = "logs and measures"
FACILITIES = ("user", *(f"local{number}" for number in range(8)))  # as in Redis: the others are not for servers

_AT_START = {"locked": "immutable"}


@dataclass(slots=True, repr=False, eq=False)
class LogsTable(AuditTable):
    """Its rows come before those of `directives.Table`; see there."""

    loglevel: str = setting(
        OneOf(("debug", "verbose", "notice", "warning")), "notice", LOGS, "the least important message that is logged"
    )
    logfile: str = setting(Text("a path"), "", LOGS, "file for messages; empty = standard error", **_AT_START)
    log_format: str = setting(
        OneOf(("plain", "json")), "plain", LOGS, "lines for people, or one JSON object each", **_AT_START
    )
    syslog_enabled: bool = setting(
        YesNo(), False, LOGS, "messages to the system's log as well; what it does not take at once is lost to it",
        **_AT_START,
    )  # fmt: skip
    syslog_ident: str = setting(Text("a name"), "vaylix", LOGS, "what they begin with", **_AT_START)
    syslog_facility: str = setting(
        OneOf(FACILITIES), "local0", LOGS, "under which the system's log files them", **_AT_START
    )

    slowlog_log_slower_than: int = setting(
        Integer(-1, INT64_MAX), 10000, LOGS, "commands slower than this enter SLOWLOG; -1 = none", unit="microseconds",
        aliases=("commandlog-execution-slower-than",),
    )  # fmt: skip
    slowlog_max_len: int = setting(
        Integer(0, INT64_MAX), 128, LOGS, "entries that SLOWLOG keeps", unit="entries",
        aliases=("commandlog-slow-execution-max-len",),
    )  # fmt: skip
    commandlog_request_larger_than: int = setting(
        Integer(-1, INT64_MAX), MIB, LOGS, "requests of at least this size enter COMMANDLOG; -1 = none", unit="bytes"
    )
    commandlog_large_request_max_len: int = setting(
        Integer(0, INT64_MAX), 128, LOGS, "large requests that COMMANDLOG keeps", unit="entries"
    )
    commandlog_reply_larger_than: int = setting(
        Integer(-1, INT64_MAX), MIB, LOGS, "requests with such a reply enter it, 1 kB or more; -1 = none",
        unit="bytes",
    )  # fmt: skip
    commandlog_large_reply_max_len: int = setting(
        Integer(0, INT64_MAX), 128, LOGS, "requests with a large reply that it keeps", unit="entries"
    )
    trace_sample: int = setting(
        Integer(0, INT64_MAX),
        0,
        LOGS,
        "follow one of so many reads from clients through its stages, for TRACE; 0 = none",
    )
    trace_slower_than: int = setting(
        Integer(0, INT64_MAX), 0, LOGS, "of those TRACE keeps what took at least this, from arrival to reply",
        unit="microseconds",
    )  # fmt: skip
    trace_max_len: int = setting(Integer(0, 10_000), 128, LOGS, "entries that TRACE keeps", unit="entries")
    latency_monitor_threshold: int = setting(
        Integer(0, INT64_MAX), 0, LOGS, "events slower than this enter LATENCY; 0 = none", unit="milliseconds"
    )
    latency_tracking: bool = setting(YesNo(), True, LOGS, "measure the latency of each command")
    latency_tracking_info_percentiles: tuple[float, ...] = setting(
        Percentiles(), (50.0, 99.0, 99.9), LOGS, "percentiles shown by INFO latencystats"
    )

    http_port: int = setting(
        Integer(0, 65535), 0, LOGS, "port of HTTP for /metrics, /livez, /readyz and /status; 0 = none", **_AT_START
    )
    http_bind: tuple[str, ...] = setting(
        Addresses(), ("127.0.0.1",), LOGS, "addresses for http-port; who reaches them can read measures, no data",
        **_AT_START,
    )  # fmt: skip
    http_token: str = setting(
        Text("a secret"), "", LOGS, "what /metrics and /status ask for; empty = nothing", secret=True
    )
    http_status_slowlog: bool = setting(
        YesNo(), False, LOGS, "arguments of slow requests on /status: keys and values are in them"
    )
