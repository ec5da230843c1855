"""Measurements of Vaylix RESP beside redis-server, in the same run, on the same machine: `python -m
bench`."""
