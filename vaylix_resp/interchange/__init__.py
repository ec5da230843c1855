"""Formats in which data comes from Redis and goes to it: RDB files, DUMP payloads. Pure: bytes in, records out."""
