"""The way back: what is kept, how a past state is rebuilt, how it becomes live or a directory again."""
