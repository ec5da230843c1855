"""Keys and secrets. Knows files only through small protocols, and nothing of what is sealed with its keys."""
