"""What a node does that has peers: its own batches on their way into the log, those of others, commit and apply.

`outbox` and `inbox` are pure. Not here: agreement (`raft`), connections (`peers`), files (`storage`).
"""
