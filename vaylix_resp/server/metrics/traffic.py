"""Metrics of connections: how many, of which kind, what they send, what waits for them."""

from __future__ import annotations

from typing import Final

from .table import Metric, Scrape, counter, gauge


def _closed(at: Scrape) -> dict[str, int]:
    stats = at.server.stats
    return {
        "query_buffer": stats.client_query_buffer_limit_disconnections,
        "output_buffer": stats.client_output_buffer_limit_disconnections,
        "maxmemory_clients": stats.evicted_clients,
    }


def _subscriptions(at: Scrape) -> dict[str, int]:
    hub = at.server.pubsub
    return {"channel": len(hub.channels), "pattern": len(hub.patterns), "shard": len(hub.shards)}


TRAFFIC: Final[tuple[Metric, ...]] = (
    gauge("connections", "Connected clients.", lambda at: at.connections.types, ("type",), "normal, pubsub, monitor"),
    gauge("connections_limit", "The directive maxclients.", lambda at: at.server.settings.maxclients),
    gauge("connections_blocked", "Clients that wait for an event (WAIT and its like).",
          lambda at: at.connections.blocked),
    gauge("connections_watching", "Clients that watch keys (WATCH).", lambda at: at.connections.watching),
    gauge("connections_tracking", "Clients with client-side caching.",
          lambda at: at.server.tracking.counts()["tracking_clients"]),
    gauge("connections_parked", "Clients that are held back: a full batch, a pause, a full audit.",
          lambda at: len(at.server.parked)),
    counter("connections_received_total", "Connections taken.", lambda at: at.server.stats.total_connections_received),
    counter("connections_rejected_total", "Connections refused: maxclients, protected mode and the like.",
            lambda at: at.server.stats.rejected_connections + at.server.clients.rejected),
    counter("connections_closed_total", "Connections closed because of what they made the server hold.", _closed,
            ("reason",), "query_buffer, output_buffer, maxmemory_clients"),
    counter("network_received_bytes_total", "Bytes read from clients.",
            lambda at: at.server.stats.total_net_input_bytes),
    counter("network_sent_bytes_total", "Bytes sent to clients.", lambda at: at.server.stats.total_net_output_bytes),
    counter("network_reads_total", "Reads from sockets of clients.", lambda at: at.server.stats.total_reads_processed),
    counter("network_writes_total", "Writes to sockets of clients.", lambda at: at.server.stats.total_writes_processed),
    gauge("input_buffers_bytes", "Unfinished requests of all clients.", lambda at: at.connections.input),
    gauge("input_buffer_largest_bytes", "The largest unfinished request.", lambda at: at.connections.input_largest),
    gauge("output_buffers_bytes", "Replies that clients have not read.", lambda at: at.connections.output),
    gauge("output_buffer_largest_bytes", "The most that one client has not read.",
          lambda at: at.connections.output_largest),
    gauge("pubsub_subscriptions", "Channels and patterns that somebody listens to.", _subscriptions, ("kind",),
          "channel, pattern, shard"),
)  # fmt: skip
