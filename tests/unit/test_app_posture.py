"""What a server finds around it, and what it makes of it."""

import resource

from vaylix_resp import app_posture as module
from vaylix_resp.config import load


def test_the_number_of_open_files(monkeypatch):
    calls, settings = [], load(None, [], {})
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", lambda which, wanted: calls.append(wanted))
    settings.maxclients = 20
    module.raise_file_limit(settings)
    assert calls == [] and settings.maxclients == 20, "enough as it is"
    settings.maxclients = 100
    module.raise_file_limit(settings)
    assert calls == [(164, 200)] and settings.maxclients == 100

    def refuse(which, wanted):
        calls.append(wanted)
        if wanted[1] > 200:
            raise ValueError("not allowed")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    settings.maxclients = 1000
    module.raise_file_limit(settings)
    assert calls[-1] == (200, 200) and settings.maxclients == 200 - module.RESERVED_FILES
