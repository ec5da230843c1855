"""The audit log on disk: written off the loop, checked at the start and on demand."""
