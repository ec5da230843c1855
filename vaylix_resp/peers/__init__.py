"""Nodes talk to each other: frames, who is who, connections. Knows Raft's messages, not what is done with them."""
