"""Every metric, one row of a table each; grouped by subject."""
