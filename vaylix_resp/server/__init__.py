"""The front end: connections, sessions, admission, dispatch."""
