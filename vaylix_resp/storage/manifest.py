"""manifest.json: which store this is, which snapshots are current, and where a clean stop left the log.

Promise: replaced atomically; refused if a single bit of the file differs from what was written. Fields that say nothing
are left out, so that a directory that has never been in a cluster has the manifest that it always had.
Not here: the files it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from xxhash import xxh3_128_hexdigest

from vaylix_resp.storage import small_file
from vaylix_resp.storage.disk import Disk, join
from vaylix_resp.storage.errors import Corrupt, version_advice
from vaylix_resp.storage.hard_state import HardState, Identity

FORMAT_VERSION = 2
NAME = "manifest.json"


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A published snapshot: the state after `sequence`, which ended the batch tagged `tag`."""

    sequence: int
    file: str
    digest: str
    tag: str
    term: int
    timestamp_ms: int
    bytes: int


# Which of the snapshots stay, oldest first; the newest always does.
Keep = Callable[[tuple[SnapshotInfo, ...]], tuple[SnapshotInfo, ...]]


@dataclass(frozen=True, slots=True)
class CleanStop:
    """The exact end of the log when the server stopped cleanly; cleared before the first new write.

    Term and vote as last saved, which may be behind the last batch; 0: never, in this life.
    """

    sequence: int
    tag: str
    timestamp_ms: int
    term: int = 0
    vote: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """`cluster_id` and `node_id`: who the directory is in a cluster; "" and 0: it is in none. `incarnation` counts the
    lives of its data (`hard_state`)."""

    store_id: str
    created_ms: int
    snapshots: tuple[SnapshotInfo, ...] = ()  # oldest first
    clean_stop: CleanStop | None = None
    keyring_id: str = ""  # whose keys seal the files; "" means that none has ever been sealed
    cluster_id: str = ""
    node_id: int = 0
    incarnation: int = 0

    @property
    def store_id_bytes(self) -> bytes:
        return bytes.fromhex(self.store_id)

    @property
    def newest(self) -> SnapshotInfo | None:
        return self.snapshots[-1] if self.snapshots else None

    @property
    def identity(self) -> Identity | None:
        if not self.cluster_id:
            return None
        return Identity(bytes.fromhex(self.cluster_id), self.node_id, self.incarnation)

    def with_identity(self, identity: Identity) -> Manifest:
        assert identity.incarnation >= self.incarnation, (identity, self.incarnation)
        return replace(
            self, cluster_id=identity.cluster_id.hex(), node_id=identity.node_id, incarnation=identity.incarnation
        )

    def on_its_own(self) -> Manifest:
        """For data that goes on without its cluster (a copy, a log that was cut by hand): a new life, and nobody's
        member. It cannot come back as the node that it was, which may have promised what is not in it."""
        if not self.cluster_id and not self.incarnation:
            return self
        stop = replace(self.clean_stop, term=0, vote=0) if self.clean_stop else None
        return replace(self, cluster_id="", node_id=0, incarnation=self.incarnation + 1, clean_stop=stop)

    def own(self, found: HardState | None) -> HardState | None:
        """What the log says of term and vote, unless that was in a life that is over."""
        return None if found is not None and found.identity.incarnation < self.incarnation else found

    def contradiction(self, found: HardState | None, log_term: int) -> str | None:
        """What is expected of term and vote as `own` gives them, at the end of a log of `log_term`; None: nothing."""
        if found is not None and found.identity != self.identity:
            who = found.identity
            return (
                f"term and vote of the node that the manifest names, found those of node {who.node_id:016x} of cluster "
                f"{who.cluster_id.hex()} (incarnation {who.incarnation}, the manifest says {self.incarnation})"
            )
        if found is not None and log_term > found.term:
            return f"no batch of a later term than the node has saved ({found.term}), found term {log_term}"
        at_end, stop = (found.term, found.vote) if found else (0, 0), self.clean_stop
        if stop is not None and at_end != (stop.term, stop.vote):
            return (
                f"term {stop.term} and vote {stop.vote:016x} as at the clean stop, found term {at_end[0]} and vote "
                f"{at_end[1]:016x}"
            )
        return None

    def with_snapshot(self, info: SnapshotInfo, keep: Keep | None = None) -> Manifest:
        others = [known for known in self.snapshots if known.sequence < info.sequence]
        return replace(self, snapshots=(*others, info)).keeping(keep)

    def keeping(self, keep: Keep | None) -> Manifest:
        """Without the snapshots that `keep` leaves out; None: with the newest alone."""
        kept = keep(self.snapshots) if keep else self.snapshots[-1:]
        assert kept[-1:] == self.snapshots[-1:] and set(kept) <= set(self.snapshots), (kept, self.snapshots)
        return replace(self, snapshots=kept)

    def with_keyring(self, keyring_id: str) -> Manifest:
        return replace(self, keyring_id=keyring_id)

    def with_clean_stop(self, stop: CleanStop | None) -> Manifest:
        return replace(self, clean_stop=stop)


# Left out where they hold what is given here.
_OPTIONAL: dict[str, object] = {"cluster_id": "", "node_id": 0, "incarnation": 0}
_OPTIONAL_AT_STOP: dict[str, object] = {"term": 0, "vote": 0}


def encode_manifest(manifest: Manifest) -> bytes:
    body = {"format": FORMAT_VERSION, **_without(asdict(manifest), _OPTIONAL)}
    if manifest.clean_stop is not None:
        body["clean_stop"] = _without(asdict(manifest.clean_stop), _OPTIONAL_AT_STOP)
    return _render({"checksum": _checksum(body), **body})


def _without(body: dict[str, Any], unsaid: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in unsaid or value != unsaid[name]}


def decode_manifest(raw: bytes, path: str) -> Manifest:
    try:
        body = json.loads(raw.decode("ascii"))
        checksum = body.pop("checksum")
        version = body.pop("format")
        whole = checksum == _checksum({"format": version, **body})
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as cause:
        raise Corrupt(path, 0, f"a manifest in JSON with a checksum ({cause})") from cause
    if not whole:
        raise Corrupt(path, 0, "a manifest with a right checksum")
    if version != FORMAT_VERSION:
        older = isinstance(version, int) and version < FORMAT_VERSION
        raise Corrupt(
            path, 0, f"manifest format version {FORMAT_VERSION}, this one is {version!r:.40}",
            advice=version_advice(0 if older else FORMAT_VERSION, FORMAT_VERSION),
        )  # fmt: skip
    manifest = _build(body, path)
    # JSON has many spellings of one value; only ours is accepted, so that no flip anywhere goes unnoticed.
    if encode_manifest(manifest) != raw:
        raise Corrupt(path, 0, "a manifest as this program writes it")
    return manifest


def _build(body: dict[str, object], path: str) -> Manifest:
    try:
        snapshots, stop = body.pop("snapshots"), body.pop("clean_stop")
        assert isinstance(snapshots, list)
        manifest = Manifest(
            snapshots=tuple(SnapshotInfo(**one) for one in snapshots),
            clean_stop=CleanStop(**stop) if isinstance(stop, dict) else None,
            **body,  # type: ignore[arg-type]  # the comparison with our own spelling checks the types
        )
        sequences = [info.sequence for info in manifest.snapshots]
        assert isinstance(manifest.keyring_id, str), manifest.keyring_id
        assert not any("/" in info.file for info in manifest.snapshots), "a file elsewhere"
        assert bool(manifest.cluster_id) == (manifest.node_id != 0), "a node of a cluster, or neither"
        assert manifest.identity is None or manifest.incarnation >= 0, manifest.incarnation
        if len(manifest.store_id_bytes) == 16 and sequences == sorted(set(sequences)):
            return manifest
    except (KeyError, TypeError, ValueError, AssertionError) as cause:
        raise Corrupt(path, 0, f"the fields of a manifest ({cause})") from cause
    raise Corrupt(path, 0, "a store id of 16 bytes and snapshots in order")


def _checksum(body: dict[str, object]) -> str:
    return xxh3_128_hexdigest(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())


def _render(body: dict[str, object]) -> bytes:
    return json.dumps(body, indent=2).encode() + b"\n"


def read_manifest(disk: Disk, root: str) -> Manifest | None:
    """None when there is none, which is right only in an empty directory (`store` decides)."""
    path = join(root, NAME)
    raw = small_file.read(disk, path)
    return None if raw is None else decode_manifest(raw, path)


def write_manifest(disk: Disk, root: str, manifest: Manifest) -> None:
    small_file.replace(disk, join(root, NAME), encode_manifest(manifest))
