"""Every bound of the server: its unit and the reason for its size.

Bounds that an operator may move are the defaults of directives (`directives`); the others are fixed.
"""

from __future__ import annotations

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# What a client may send.
INLINE_BYTES_MAX = 64 * KIB  # Redis's own limit for a request without a `*` header
MULTIBULK_COUNT_MAX = 1024 * 1024  # words in one request; Redis allows 2^31-1, of which nobody sends a millionth
MULTIBULK_COUNT_MAX_UNAUTHENTICATED = 10  # before AUTH nobody needs more (HELLO 3 AUTH u p SETNAME n)
BULK_BYTES_MAX_UNAUTHENTICATED = 16 * KIB
VALUE_BYTES_MAX = 64 * MIB  # one value; bounds an entry, hence a batch, hence the wait for its fsync
REQUEST_BYTES_MAX = VALUE_BYTES_MAX + MIB // 2  # all words of one request (an MSET): one value and what names it
TRANSACTION_BYTES_MAX = 16 * MIB  # what one MULTI may queue, encoded; as much again may be watched

# What the server gathers for a client.
OUTPUT_PAUSE_BYTES = 1 * MIB  # a reader slower than this is no longer read from
BACKLOG_BYTES_MAX = 1 * MIB  # of requests that wait, or whose replies do, before reading stops
REPLY_BYTES_MAX = 512 * MIB  # of values in one reply: MGET and EXEC can name a value more often than memory would hold
READ_CHUNK_BYTES = 64 * KIB  # hiredis is fed at most this much at once: feeding it hundreds of MiB is quadratic

# What one client, or all of them, may have the server remember.
SUBSCRIPTION_BYTES_MAX = 64 * MIB  # names of one client's channels; 300,000 short ones
TRACKING_KEYS_BYTES_MAX = 256 * MIB  # keys remembered for CLIENT TRACKING; tracking-table-max-keys bounds their number
TRACKING_PREFIXES_MAX = 1024  # of one client: checking that they do not overlap takes time in their square
MONITOR_LINE_BYTES_MAX = 1 * MIB  # of one request; escaping 64 MiB for a monitor would stall everybody

# The log.
BATCH_BYTES_MAX = 32 * MIB  # what one fsync covers; bounds the wait of its last writer
ENTRY_BYTES_MAX = VALUE_BYTES_MAX + MIB  # one operation, encoded
ROW_BYTES_MAX = MIB  # requests that join a batch in one go; what is more joins one by one
BATCH_BODY_BYTES_MAX = BATCH_BYTES_MAX + ENTRY_BYTES_MAX  # the batch was nearly full when the largest entry came

assert max(ROW_BYTES_MAX, REQUEST_BYTES_MAX) < ENTRY_BYTES_MAX, "a batch that is not full has room for one"
assert 2 * TRANSACTION_BYTES_MAX < ENTRY_BYTES_MAX, "a transaction and all that it watched are one entry"

HOUSEKEEPING_HZ = 10  # rounds per second: an idle server costs little, and no expired key waits long for its end
