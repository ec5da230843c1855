"""What operators do to a data directory: verify, inspect, repair, migrate, put under new keys."""
