"""A running server as a source, by SCAN, GET and the time that a key has left: for those that take no replicas.

The first pass copies; the next ones compare every key and mend what has changed meanwhile, until there is nothing to
mend. What changes after the page of the last pass is not there, unless the source is paused or nobody writes to it: the
comparison at the end says so.
Promise: the first pass goes on at its cursor after a kill, unless the source was restarted, when its cursors mean
nothing. Not here: comparing (`verify`), what is asked again when a connection was lost (`side`), how keys are written
(`applying`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ..output import Progress
from .applying import Applier
from .channel import Address
from .meaning import Operation
from .options import Options
from .patience import GivenUp, Patience
from .pausing import Pause
from .side import Side
from .target import Mark, Target
from .verify import Difference, Verdict, differences, portions

PASSES_MAX: Final = 3  # that mend, while the source goes on


class Scanner:
    """One import by SCAN."""

    def __init__(
        self, source: Address, target: Target, options: Options, *, now_ms: Callable[[], int],
        said: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._source, self._target, self._options = source, target, options
        self._now_ms, self._said = now_ms, said
        self.verdict = Verdict()
        self.mended = 0

    def run(self, mark: Mark) -> None:
        patience = Patience(self._source.where, self._options.retry_for)
        with (
            Side(self._source, patience, self._now_ms) as self._from,
            Side(self._source, patience, self._now_ms) as control,
            Side(self._target.address, self._target.patience, self._now_ms) as self._to,
        ):
            self.pause = Pause(control, self._source.where, self._options)
            if mark.replid != self._from.run_id:
                mark.replid, mark.db, mark.cursor = self._from.run_id, 0, 0
            skip = self._options.skip_unsupported
            self._applier = Applier(self._target, mark, skip=skip, shift=False, now_ms=self._now_ms)
            if mark.phase == "keys":
                self._copy(mark)
            self.pause.begin()
            with self._target.patience.doing(self.pause.hold):
                for _ in range(PASSES_MAX if mark.policy != "skip" else 0):
                    if not self._mend(mark):
                        break
                if self._options.verify != "none":
                    self._verify(mark)
            self.pause.hold()
            if not self.pause.whole:
                raise GivenUp(f"{self._source.where}: the pause of its writers was over before the work was done; "
                              "the same command looks for changes again")  # fmt: skip

    def _databases(self) -> list[int]:
        return [self._source.db] if self._source.db is not None else sorted(self._from.sizes())

    def _copy(self, mark: Mark) -> None:
        progress = Progress("copying", sum(self._from.sizes().values()), "keys", before=mark.done)
        for db in self._databases():
            if db < mark.db:
                continue
            for cursor, names in self._from.pages(db, mark.cursor if db == mark.db else 0):
                for portion in portions(names):
                    self._portion(db, portion)
                mark.db, mark.cursor = (db, cursor) if cursor else (db + 1, 0)
                progress.say(mark.done)
        mark.phase = "mend"
        self._target.put_mark()
        progress.end(mark.done)

    def _portion(self, db: int, names: Sequence[bytes]) -> None:
        others = []
        for name, held in zip(names, self._from.read(db, names), strict=True):
            if held.value is not None:
                self._applier.key(db, name, held.value, held.expire_at_ms)
            elif held.kind:
                others.append(name)
        for name, kind in zip(others, self._from.types(db, others), strict=True):
            self._applier.leave_out(kind, name)

    def _mend(self, mark: Mark) -> int:
        """Make keys that have changed since they were copied like the source's; how many these were."""
        verdict, mended = Verdict(), 0
        for found in self._differences("looking for changes", mark, verdict):
            (held,) = self._from.read(found.db, [found.name])
            if held.value is not None:
                written = mark.written
                self._applier.key(found.db, found.name, held.value, held.expire_at_ms)
                mark.written = written  # what was copied first is counted
            else:
                self._target.add([Operation(found.db, (b"DEL", found.name))])
            mended += 1
        self._target.put_mark()
        self.mended += mended
        return mended

    def _verify(self, mark: Mark) -> None:
        self._said("comparing")
        for found in self._differences("comparing", mark, self.verdict, sample=self._options.verify == "sample"):
            if mark.policy != "skip" or found.missing:
                self.verdict.differs(found.db, found.name, found.how)

    def _differences(self, what: str, mark: Mark, verdict: Verdict, sample: bool = False) -> Iterator[Difference]:
        """In a target that was empty, what only the target has was deleted at the source."""
        progress = Progress(what, 0, "keys")

        def said(keys: int) -> None:
            progress.say(keys)
            self.pause.renew()

        yield from differences(
            self._from, self._to, self._databases(), sample=sample, others=mark.policy == "fail", verdict=verdict,
            said=said,
        )  # fmt: skip
        progress.end(verdict.keys)
