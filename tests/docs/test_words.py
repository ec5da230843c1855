"""What a command line names and the program does not know is found without running it."""

import pytest

from tests.docs.words import unknown


@pytest.mark.parametrize(
    "command, found",
    [
        ("vaylix serve --port 6380 --dir=/srv/vaylix # --no-such", []),
        ("VAYLIX_PORT=1 vaylix serve --no-such 3", ["--no-such"]),
        ("vaylix check-config f --json", []),
        ("vaylix storage verify --data-dir /srv/vaylix --quick", []),
        ("vaylix storage verify --port 1", ["--port"]),
        ("vaylix storage forget", ["forget"]),
        ("vaylix sotrage verify", ["sotrage"]),
        ("vaylix healthcheck --port 6379 --cacert ca.crt", []),
        ("vaylix cluster status \\\n  --watch --no-such", ["--no-such"]),
        ("vaylix import --rdb FILE", []),
        ("python -m tests.sim --seeds 2000", []),
        ("python -m tests.sim --no-such 1", ["--no-such"]),
        ("python -m tests.nowhere", ["tests.nowhere"]),
        ("docker compose up --no-such", []),
    ],
)
def test_unknown_words(command, found):
    assert unknown(command) == found
