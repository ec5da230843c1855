"""The wire: bytes to requests, replies to bytes. Pure: no sockets."""
