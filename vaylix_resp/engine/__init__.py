"""From a proposal to an answer: batches, durability, apply; boot and snapshots."""
