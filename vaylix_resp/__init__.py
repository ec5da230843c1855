"""Vaylix RESP: a key-value server that speaks the Redis protocol and never lies about durability."""

__version__ = "0.1.0"
