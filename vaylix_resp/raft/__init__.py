"""Agreement on the log. Pure: no clock, no file, no socket."""
