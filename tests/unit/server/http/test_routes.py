"""Which page a request gets: by path, token and how far the start has come."""

import base64
import json
from types import SimpleNamespace

import pytest

from vaylix_resp.config import Settings
from vaylix_resp.server.http import routes
from vaylix_resp.server.http.pages import Request, Site
from vaylix_resp.server.http.routes import ROUTES, Route, answer


@pytest.fixture
def site():
    return Site(Settings())


def get(site, path, authorization="", accept="", **query):
    return answer(site, Request("GET", path, query, accept, authorization))


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "authorization, status",
    [
        ("", 401), ("Bearer", 401), ("Bearer wrong", 401), ("Bearer s3cret:", 401), ("Digest s3cret", 401),
        ("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer  s3cret ", 200),
        (basic("anybody:s3cret"), 200), (basic(":s3cret"), 200), (basic("s3cret"), 401), (basic("s3cret:x"), 401),
        ("Basic !!!", 401), ("Basic", 401), (basic("x:sécret"), 401), ("Basic é", 401), ("Bearer é", 401),
    ],
)  # fmt: skip
def test_http_token(site, authorization, status):
    site.settings.http_token = "s3cret"
    page = get(site, "/metrics", authorization)
    assert page.status == status
    assert (status == 200) or ("WWW-Authenticate" in dict(page.headers) and b"s3cret" not in page.body)


@pytest.mark.parametrize("token", [b"s\xc3\xa9cret", b"\xff\xfe", b"a:b c"])
def test_a_token_of_any_bytes(site, token):
    """A header comes as bytes, read as Latin-1."""
    site.settings.http_token = token.decode("utf-8", "surrogateescape")
    assert get(site, "/metrics", "Bearer " + token.decode("latin-1")).status == 200
    assert get(site, "/metrics", "Basic " + base64.b64encode(b"me:" + token).decode()).status == 200
    assert get(site, "/metrics", "Bearer " + token[1:].decode("latin-1")).status == 401


@pytest.mark.parametrize("path", ["/", "/livez", "/readyz"])
def test_probes_are_never_asked_for_it(site, path):
    site.settings.http_token = "s3cret"
    assert get(site, path).status != 401


def test_without_a_token_everybody_may_look(site):
    assert get(site, "/metrics").status == get(site, "/metrics", "Bearer x").status == 200


def test_while_the_server_starts(site):
    assert get(site, "/livez").body == b"ok\n"
    ready = get(site, "/readyz")
    assert (ready.status, ready.body) == (503, b"not ready\n[-] process: starting: reading the data directory\n")
    metrics = get(site, "/metrics")
    assert metrics.status == 200 and b"\nvaylix_ready 0\n" in metrics.body and b"vaylix_process_cpu" in metrics.body
    for route in ROUTES.values():
        page = get(site, route.path)
        assert page.status != 500 and (route.early or (page.status == 503 and ("Retry-After", "1") in page.headers))


@pytest.mark.parametrize("how", [{"accept": "application/json"}, {"format": "json"}, {"accept": "text/html, application/json;q=0.9"}])
def test_json_for_who_wants_it(site, how):
    page = get(site, "/readyz", **how)
    assert (page.status, page.kind) == (503, "application/json")
    assert json.loads(page.body) == {
        "ready": False,
        "checks": [{"name": "process", "ok": False, "detail": "starting: reading the data directory"}],
    }
    assert json.loads(get(site, "/livez", **how).body) == {"live": True}


def test_a_bug_in_a_page_is_told_and_hurts_nobody(site, monkeypatch):
    told = []
    monkeypatch.setattr(routes, "log", SimpleNamespace(failure=lambda text, bug: told.append((text, type(bug)))))

    def broken(site, request):
        raise ZeroDivisionError("secret of a key")

    monkeypatch.setitem(routes.ROUTES, "/broken", Route("/broken", broken, "", early=True))
    page = get(site, "/broken")
    assert page.status == 500 and b"secret" not in page.body
    assert told == [("a bug in the page /broken: please report it", ZeroDivisionError)]


def test_the_list_has_every_path(site):
    lines = get(site, "/").body.decode().splitlines()
    assert [line.split()[0] for line in lines] == list(ROUTES)
