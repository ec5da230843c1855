"""What the committed log means: the keyspace, and the one function that changes it. Pure."""
