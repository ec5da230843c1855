"""`python -m tests.moving`: imports from a source under writes, killed again and again."""
