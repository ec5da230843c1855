"""Backups and archive on the live server, and their child process."""
