"""`vaylix import`: data of other servers into a running one, as ordinary writes.

`importing` is the command; `target` writes, and keeps beside the data how far it is; `meaning` says what a command of a
stream is here; `from_rdb`, `from_aof`, `from_stream` and `from_scan` are the four ways in; `verify` compares.
"""
