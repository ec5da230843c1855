"""What the server tells those who run it: log lines, measures, slow commands."""
