"""The manifests in conf/kubernetes, without a cluster and without kubectl: the schemas of Kubernetes, and what they say together.

The schemas come with kubernetes-validate; strict means that a field that Kubernetes does not know is a fault.
"""

import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from vaylix_resp import __version__
from vaylix_resp.config import load
from vaylix_resp.directives_cluster_rules import raft_port
from vaylix_resp.server.http.routes import ROUTES

PLACE = Path(__file__).parents[2] / "conf" / "kubernetes"
NEWEST = kubernetes_validate.latest_version()
SUPPORTED = sorted({"1.31.0", NEWEST})  # the oldest that we say it works on, and what is current
BASE = PLACE / "base"
OURS = "app.kubernetes.io/name"


def documents():
    """(file, kind, manifest) of everything that Kubernetes itself defines."""
    for path in sorted(BASE.glob("*.yaml")):
        for found in yaml.safe_load_all(path.read_text()):
            if found["kind"] != "Kustomization":
                yield path.name, found["kind"], found


MANIFESTS = {f"{name}: {kind} {found['metadata']['name']}": found for name, kind, found in documents()}


def of_kind(kind):
    return [found for found in MANIFESTS.values() if found["kind"] == kind]


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("name", MANIFESTS)
def test_kubernetes_knows_every_field(name, version):
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_an_unknown_field_is_found():
    wrong = yaml.safe_load(yaml.safe_dump(of_kind("StatefulSet")[0]))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def kustomization(name):
    return yaml.safe_load((PLACE / name / "kustomization.yaml").read_text())


@pytest.mark.parametrize("name", ["base", "founded", "monitoring"])
def test_a_kustomization_names_files_that_are_there(name):
    found = kustomization(name)
    assert set(found) <= {"apiVersion", "kind", "labels", "resources", "configMapGenerator", "images"}
    files = [file for generator in found.get("configMapGenerator", []) for file in generator["files"]]
    for file in [*found["resources"], *files]:
        assert (PLACE / name / file).exists(), file
    here = {path.name for path in (PLACE / name).iterdir()} - {"kustomization.yaml", "secret.example.yaml"}
    assert here == {file for file in [*found["resources"], *files] if not file.startswith("..")}, "nothing is left out"


STATEFUL = of_kind("StatefulSet")[0]
POD = STATEFUL["spec"]["template"]["spec"]
(SERVER,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
(APART,) = POD["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]


def test_the_image_is_that_of_this_release():
    (image,) = kustomization("base")["images"]
    assert image["newTag"] == __version__ and SERVER["image"] == image["name"]


def image_environment():
    """What the image sets. It wins over the file, so a pod that wants something else has to set it again."""
    (line,) = re.findall(r"^ENV (.+)$", (PLACE.parents[1] / "Dockerfile").read_text(), re.MULTILINE)
    return dict(word.split("=", 1) for word in shlex.split(line) if word.startswith("VAYLIX_"))


def settings_of(name, pod, tmp_path):
    """What the pod's server would run with."""
    environment = image_environment()
    assert set(environment) == {"VAYLIX_DIR", "VAYLIX_BIND"}
    for one in SERVER["env"]:
        environment[one["name"]] = one.get("value") or {"metadata.name": pod, "metadata.namespace": "ns"}[
            one["valueFrom"]["fieldRef"]["fieldPath"]
        ]
    (secret,) = of_kind("Secret")
    for variable, value in environment.items():
        value = re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], value)
        if variable.endswith("_FILE"):
            file = tmp_path / Path(value).name
            file.write_text(secret["stringData"][file.name])
            value = str(file)
        environment[variable] = value
    return load(str(PLACE / name / "vaylix.conf"), (), environment)


@pytest.mark.parametrize("ordinal", range(STATEFUL["spec"]["replicas"]))
def test_a_pod_that_founds(ordinal, tmp_path):
    pod = f"{STATEFUL['metadata']['name']}-{ordinal}"
    settings = settings_of("base", pod, tmp_path)
    assert settings.node_id == pod and settings.warnings == [], "nothing of the file is overruled by the image"
    assert settings.dir == "/data/node" and settings.bind == ("0.0.0.0", "-::")
    assert [peer.name for peer in settings.cluster_peers] == [f"vaylix-{n}" for n in range(STATEFUL["spec"]["replicas"])]
    for peer in settings.cluster_peers:
        assert (peer.host, peer.port) == (f"{peer.name}.{STATEFUL['spec']['serviceName']}", PORTS["raft"])
    assert raft_port(settings) == PORTS["raft"] and settings.port == PORTS["redis"] and settings.http_port == PORTS["http"]
    assert settings.advertise_addr == f"{pod}.vaylix-peers.ns.svc:6379"
    assert settings.requirepass and settings.cluster_secret, "or nobody but the pod itself would be let in"


def test_a_pod_that_joins(tmp_path):
    """Further pods and those with an empty volume, once there is a cluster; nothing else is different."""
    founds, joins = settings_of("base", "vaylix-1", tmp_path), settings_of("founded", "vaylix-1", tmp_path)
    assert settings_of("founded", "vaylix-7", tmp_path).node_id == "vaylix-7", "it need not be in a list"
    differs = {name for name in founds.sources | joins.sources if founds.value(name) != joins.value(name)}
    assert differs == {"cluster-peers", "cluster-join", "raft-port"} and raft_port(joins) == raft_port(founds)
    assert joins.cluster_join == tuple(f"{p.host}:{p.port}" for p in founds.cluster_peers)


def test_probes_ask_for_pages_that_there_are():
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = SERVER[probe]["httpGet"]
        assert asked["path"] in ROUTES and ROUTES[asked["path"]].early and asked["port"] == "http"
    assert SERVER["startupProbe"]["httpGet"]["path"] == SERVER["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_nothing_but_the_data_can_be_written_and_nobody_is_root():
    assert POD["securityContext"]["runAsNonRoot"] and POD["securityContext"]["runAsUser"] == 6379
    assert SERVER["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert {mount["mountPath"] for mount in SERVER["volumeMounts"] if not mount.get("readOnly")} == {"/data", "/tmp"}


def test_what_kubernetes_would_put_into_our_environment_is_kept_out():
    """A Service named vaylix would bring VAYLIX_PORT=tcp://..., which is a directive here."""
    assert POD["enableServiceLinks"] is False and POD["automountServiceAccountToken"] is False


def test_selectors_meet_the_pods_and_ports_have_names_that_they_know():
    labels = STATEFUL["spec"]["template"]["metadata"]["labels"]
    selectors = [STATEFUL["spec"]["selector"]["matchLabels"], of_kind("PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in of_kind("Service")]
    selectors += [spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]]
    selectors.append(APART["labelSelector"]["matchLabels"])
    (policy,) = of_kind("NetworkPolicy")
    selectors.append(policy["spec"]["podSelector"]["matchLabels"])
    assert all(selector == labels == {OURS: "vaylix"} for selector in selectors)
    for service in of_kind("Service"):
        for port in service["spec"]["ports"]:
            assert PORTS[port["targetPort"]] == port["port"]
    (peers,) = [service for service in of_kind("Service") if service["metadata"]["name"] == STATEFUL["spec"]["serviceName"]]
    assert peers["spec"]["clusterIP"] == "None" and peers["spec"]["publishNotReadyAddresses"] is True
    rules = policy["spec"]["ingress"] + policy["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == {*PORTS, 53}


def test_never_two_nodes_on_one_machine():
    assert APART["topologyKey"] == "kubernetes.io/hostname"


def test_one_node_at_a_time_and_no_volume_goes_with_its_pod():
    assert of_kind("PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1
    assert set(STATEFUL["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert STATEFUL["spec"]["podManagementPolicy"] == "Parallel", "or the first would wait for the others for ever"
    assert POD["terminationGracePeriodSeconds"] >= SERVER["lifecycle"]["preStop"]["sleep"]["seconds"] + 30


def test_prometheus_is_led_to_the_metrics():
    monitor = yaml.safe_load((PLACE / "monitoring" / "servicemonitor.yaml").read_text())
    (endpoint,) = monitor["spec"]["endpoints"]
    (found,) = [s for s in of_kind("Service") if monitor["spec"]["selector"]["matchLabels"].items() <= s["metadata"].get("labels", {}).items()]
    assert endpoint["port"] in {port["name"] for port in found["spec"]["ports"]} and endpoint["path"] in ROUTES
    (labels,) = kustomization("base")["labels"]
    job = labels["pairs"][monitor["spec"]["jobLabel"]]
    assert f'up{{job="{job}"}}' in (PLACE.parent / "prometheus" / "alerts.yml").read_text()
