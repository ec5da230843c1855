"""The compose files and the Dockerfile, read without Docker: what somebody who starts them relies on.

That they really start is `tests/e2e`'s business.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.e2e.tools import require
from vaylix_resp import __version__
from vaylix_resp.config import load
from vaylix_resp.directives import DIRECTIVES
from vaylix_resp.directives_cluster_rules import raft_port

ROOT = Path(__file__).parents[2]
TRIO, SINGLE = "docker-compose.yml", "docker-compose.single.yml"
NODES = ("node-1", "node-2", "node-3")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def services(name):
    return yaml.safe_load((ROOT / name).read_text())["services"]


SERVERS = [(TRIO, node) for node in NODES] + [(SINGLE, "vaylix")]


@pytest.mark.parametrize("name, service", SERVERS)
def test_a_server_writes_nothing_but_its_data(name, service):
    found = services(name)[service]
    assert found["read_only"] is True and found["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in found["security_opt"]
    assert "user" not in found, "the image's own user, who is not root"
    written = [volume.split(":")[1] for volume in found["volumes"] if not volume.endswith(":ro")]
    assert written == ["/data"] and found["tmpfs"] == ["/tmp"]
    assert found["restart"] == "unless-stopped"
    assert int(found["stop_grace_period"].removesuffix("s")) >= 30, "a stop hands over and comes to rest first"


@pytest.mark.parametrize("name, service", SERVERS)
def test_ports_are_open_to_this_machine_only(name, service):
    (published,) = services(name)[service]["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:63(79|80|81):6379", published)


def test_three_nodes_three_ports_and_clients_are_told_these():
    trio = services(TRIO)
    published = [trio[node]["ports"][0].rpartition(":")[0] for node in NODES]
    assert published == ["127.0.0.1:6379", "127.0.0.1:6380", "127.0.0.1:6381"]
    assert [trio[node]["environment"]["VAYLIX_ADVERTISE_ADDR"] for node in NODES] == published


@pytest.mark.parametrize("name, service", SERVERS)
def test_its_environment_is_a_configuration_that_the_server_takes(name, service, tmp_path):
    environment = dict(services(name)[service]["environment"])
    for variable in list(environment):
        directive = variable.removeprefix("VAYLIX_").lower().replace("_", "-")
        if directive.endswith("-file") and directive not in DIRECTIVES:
            secret = tmp_path / directive
            secret.write_text("0" * 64)
            environment[variable] = str(secret)
    settings = load(None, (), environment | {"VAYLIX_BIND": "0.0.0.0 -::", "VAYLIX_DIR": "/data"})
    assert settings.port == 6379 and not settings.protected_mode
    if name == TRIO:
        assert settings.node_id == service and settings.cluster_secret
        assert [peer.name for peer in settings.cluster_peers] == list(NODES)
        assert raft_port(settings) == 16379
        own = next(peer for peer in settings.cluster_peers if peer.name == service)
        assert own.host == services(TRIO)[service]["hostname"]


def test_the_raft_port_is_not_published():
    assert all("16379" not in port for node in NODES for port in services(TRIO)[node]["ports"])


def test_no_key_lies_beside_the_data_and_no_two_nodes_share_a_volume():
    trio = services(TRIO)
    volumes = [tuple(volume.split(":")[0] for volume in trio[node]["volumes"]) for node in NODES]
    assert volumes == [(f"data-{number}", f"secrets-{number}") for number in (1, 2, 3)]
    for node in NODES:
        assert trio[node]["environment"]["VAYLIX_MASTER_KEY_FILE"].startswith("/secrets/")
        assert any(volume.endswith(":/secrets:ro") for volume in trio[node]["volumes"])


def test_secrets_are_made_first_and_by_a_container_that_ends():
    trio = services(TRIO)
    assert "restart" not in trio["secrets"] and trio["secrets"]["network_mode"] == "none"
    for node in NODES:
        assert trio[node]["depends_on"] == {"secrets": {"condition": "service_completed_successfully"}}
        assert trio[node]["image"] == trio["secrets"]["image"], "built once"
    declared = yaml.safe_load((ROOT / TRIO).read_text())["volumes"]
    used = {volume.split(":")[0] for service in trio.values() for volume in service["volumes"]}
    assert used == set(declared)


@pytest.mark.parametrize(
    "line",
    [
        "FROM python:3.11-slim-bookworm",
        "USER vaylix",
        "VOLUME /data",
        "STOPSIGNAL SIGTERM",
        "exec vaylix healthcheck",
        'ENTRYPOINT ["vaylix"]',
        'CMD ["serve"]',
        f'org.opencontainers.image.version="{__version__}"',
        "COPY --from=build /build/sbom.cdx.json /usr/share/doc/vaylix/sbom.cdx.json",
    ],
)
def test_dockerfile(line):
    assert line in DOCKERFILE


def test_the_image_runs_as_a_user_and_has_no_pip():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert last.index("USER vaylix") < last.index("ENTRYPOINT") and "USER root" not in last
    assert "pip uninstall" in DOCKERFILE.rpartition("\nFROM ")[0] and "pip install" not in last


@pytest.mark.parametrize("name", [TRIO, SINGLE])
def test_compose_takes_the_file(name):
    """What our reading of it cannot see: names that compose does not know, references that lead nowhere."""
    require("docker-compose")
    verdict = subprocess.run(
        ["docker-compose", "--file", name, "config", "--quiet"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert (verdict.returncode, verdict.stderr) == (0, "")


def test_what_the_image_is_built_from_is_sent_to_the_builder():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE) for word in line.split()}
    assert copied == sent and all((ROOT / name).exists() for name in sent)
