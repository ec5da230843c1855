"""The first words of error replies, as a table: what each means, whether the request happened, what a client should do.

ERRORS.md is written from it (`python -m compat.errors`), and a test finds every code in the package that has no row.
Promise: `happened` is False for all but INDETERMINATE, so a client knows when it may simply send a request again.
Not here: the texts behind the codes (`errors` and the modules that raise them).
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Code(NamedTuple):
    code: str
    meaning: str
    happened: bool | None  # None: nobody knows yet
    advice: str


CODES: Final = (
    Code(
        "ERR",
        "The request is wrong (syntax, arity, a number that is none, a limit of a size), unknown, or cannot be served "
        "now; the text says which",
        False,
        "Do not repeat it unchanged unless the text says so. Behind `ERR Protocol error`, `ERR max number of clients "
        "reached` and the refusals of a connection the server closes it: connect again, with a growing delay",
    ),
    Code(
        "WRONGTYPE",
        "The key holds a value of a type that the command is not for",
        False,
        "An error in the program: use another key or command",
    ),
    Code(
        "NOAUTH",
        "The connection has not logged in, and the user `default` needs a password",
        False,
        "Log in (AUTH, HELLO AUTH or a client certificate), then send the request again",
    ),
    Code(
        "WRONGPASS",
        "Log-in failed: wrong user or password, or the user is disabled or has expired. Which of them is never told",
        False,
        "Do not try again with the same words: too many failures lock the user or the address out",
    ),
    Code(
        "LOCKED",
        "Too many failed log-ins for this user or from this address; the password has not been looked at",
        False,
        "Wait as long as the text says, or have an administrator send ACL UNLOCK. Connections that are logged in go on",
    ),
    Code(
        "OOM",
        "The keys take more memory than `maxmemory` allows, and the request would add to it: nothing is evicted "
        "(`maxmemory-policy noeviction`), nothing is left that may be, or room was not made within a second",
        False,
        "Remove keys, or give them an expiry; reads and DEL go on. The operator raises `maxmemory`, or chooses a "
        "policy that evicts, where data may be lost",
    ),
    Code(
        "NOPERM",
        "The user has no right to this command, subcommand, key, channel or database; ACL LOG has an entry",
        False,
        "Do not repeat it: ask an administrator for the right. Within MULTI it makes EXEC fail",
    ),
    Code(
        "DENIED",
        "Protected mode: no password and no address to bind are configured, and the connection is not from this host",
        False,
        "The connection is closed. The operator sets a password, or `protected-mode no`",
    ),
    Code(
        "EXECABORT",
        "A request between MULTI and EXEC was refused, so nothing of the transaction was executed",
        False,
        "Look at the errors of the requests before it; send the whole transaction again when they are mended",
    ),
    Code(
        "LIMIT",
        "A rate, a number of connections, a size or another limit of the operator's is reached; the text names it and "
        "its directive",
        False,
        "Wait as long as the text says, or send less at a time; the operator can raise the directive",
    ),
    Code(
        "BUSY",
        "Something of which only one runs at a time is under way, a queue of work is full, or leadership is being "
        "handed over",
        False,
        "Try again later, with a growing delay",
    ),
    Code(
        "BUSYKEY",
        "RESTORE without REPLACE: the key is there already",
        False,
        "Use another key, or REPLACE",
    ),
    Code(
        "NOPROTO",
        "HELLO asked for a protocol version other than 2 and 3",
        False,
        "Go on with the protocol that the connection has",
    ),
    Code(
        "UNBLOCKED",
        "CLIENT UNBLOCK ... ERROR ended the wait of a blocked request; or the node that counted for WAIT leads no more",
        False,
        "Send it again if it is still wanted; WAIT to the new leader",
    ),
    Code(
        "MAINTENANCE",
        "An administrator has put the server into maintenance mode: writes are refused, reads are not",
        False,
        "Write again when maintenance is over; the text has the administrator's message",
    ),
    Code(
        "MISCONF",
        "The log cannot take writes (the disk is full, or it has failed), or the audit cannot be written and the "
        "request is one that it has to record; the text says which. Reads go on. Or the data of this node of a cluster "
        "differ from the others': then reads and PING are refused, too",
        False,
        "Full disk: try again later, writes resume when there is space. Failed log: the operator has to restart on a "
        "healthy disk. Audit: the operator mends it (audit-on-failure). Data that differ: ask another node; the "
        "operator replaces this one",
    ),
    Code(
        "MOVED",
        "A cluster client asked a node that does not lead; behind the code stand the slot and the leader's address",
        False,
        "Send it to that address; cluster clients do so by themselves",
    ),
    Code(
        "REDIRECT",
        "A client that said CLIENT CAPA redirect asked a node that does not lead; behind the code stands the leader's "
        "address",
        False,
        "Send it to that address; clients that say CAPA redirect do so by themselves",
    ),
    Code(
        "NOREPLICAS",
        "No leader with a majority behind it was known to this node for no-leader-timeout; the write has not been sent "
        "to anybody",
        False,
        "Send it again, here or to another node; if it lasts, look at `vaylix cluster status`",
    ),
    Code(
        "CLUSTERDOWN",
        "No leader with a majority behind it is known to this node, and what was asked (a read, who leads, a change of "
        "the cluster) needs one",
        False,
        "Ask another node, or again after a moment; cluster clients do so by themselves",
    ),
    Code(
        "NOQUORUM",
        "SENTINEL CKQUORUM: this node does not hear a majority that could elect a leader",
        False,
        "Ask another node",
    ),
    Code(
        "NOTLEADER",
        "A hand-over was asked of a node that does not lead; the text names the leader",
        False,
        "Send it to the node that the text names",
    ),
    Code(
        "NOCLUSTER",
        "A change of the cluster was sent to a server that has no raft port",
        False,
        "The operator starts the server with `raft-port`",
    ),
    Code(
        "NOGOODSLAVE",
        "SENTINEL FAILOVER: there is no other node with a vote to hand over to",
        False,
        "Let a node join, and promote it when it has caught up",
    ),
    Code(
        "INDETERMINATE",
        "The log failed while it took this write, so it may or may not be there after a restart; or a cluster's leader "
        "was sent it, and this node has not seen in time what became of it; or the request was executed and its audit "
        "record was lost, or its reply was too large beside the others of its transaction; the text says which",
        None,
        "Read back what was to be changed, and only then decide. Never repeat an INCR or APPEND blindly",
    ),
)
