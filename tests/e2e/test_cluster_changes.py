"""One node becomes three, five and three again, each is replaced and restarted with newer software, while clients write.

No request fails that is not answered when it is sent again, nothing acknowledged is lost or made twice. At the end the
older software is refused, with exit code 78 and the reason; `cluster-version-max 1` stands for it. `python -m tests.changes`
is the long form. About 30 seconds.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.changes.story import HELD_BACK, Story
from tests.changes.town import Town
from tests.e2e.cluster import READY_SECONDS
from vaylix_resp.errors import EX_CONFIG
from vaylix_resp.state.versions import CURRENT


def refused(town: Town, name: str) -> str:
    """Start it; it has to end by itself. What it says."""
    town.servers[name].spawn()
    process = town.servers[name].process
    assert process is not None and process.wait(READY_SECONDS) == EX_CONFIG
    return town.servers[name].log_tail().splitlines()[-1]


def test_changes_under_load_and_then_no_way_back() -> None:
    with ExitStack() as stack:
        story = Story(stack, clients=3)
        report = story.play()
        print(report)
        assert "all answered" in report and len(story.members) == 3
        _the_older_software_is_refused(story.town, story.members)


def _the_older_software_is_refused(town: Town, members: list[str]) -> None:
    reason = f"cluster version {CURRENT} is in force"
    name, asked, _ = members
    server = town.servers[name]
    assert server.stop() == 0
    new = server.extra
    server.extra += HELD_BACK
    assert f"{reason} in this data, and this node understands versions up to 1" in refused(town, name)
    town.make("old", *HELD_BACK, "--cluster-join", town.place(asked))
    assert f"this node has not joined: {reason}, and old understands versions up to 1" in refused(town, "old")
    assert set(town.members(asked)) == set(members), "nothing of it is left behind"
    server.extra = new
    server.start(READY_SECONDS)
    town.wait_equal(*members)


def test_a_server_alone_holds_its_version_back_as_long_as_it_is_told_to() -> None:
    with ExitStack() as stack:
        town = Town(stack)
        server = town.make("one", *HELD_BACK)
        server.start(READY_SECONDS)
        assert town.version("one") == 1
        town.client("one").config_set("cluster-version-max", 0)
        town.wait_version(CURRENT, "one")
        assert server.stop() == 0
        assert "raise or remove cluster-version-max" in refused(town, "one")
