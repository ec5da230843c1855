"""Files: the write-ahead log, its recovery, snapshots and the manifest.

Promise: what `Wal.sync` returned for survives a power cut; damage is refused by name and never skipped.
Not here: when to sync, what an entry means, who may write.
"""
