"""Data outside the data directory: backup files, the online copy, the archive."""
