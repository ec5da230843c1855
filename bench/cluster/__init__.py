"""Three nodes on one machine: speed beside redis-server with two replicas, failover, a node that comes back."""
