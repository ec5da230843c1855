"""The same requests here and on a real redis-server: `python -m compat`, `pytest compat`, `python -m
compat.table`."""
