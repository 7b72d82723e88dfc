"""What operators are given: it parses, its commands are ours, and its dashboards name measures that exist."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import yaml

from moodstream.pipelines.cli import cli
from moodstream.pipelines.landing import LandMetrics
from moodstream.pipelines.metrics import Metrics
from moodstream.serving.api.measures import Measures
from moodstream.serving.config import ServeConfig
from moodstream.serving.live.feed import Feed
from moodstream.sinks.cluster import Cluster, Topics

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
FILES = sorted(path for path in INFRA.rglob("*.y*ml") if path.suffix in (".yaml", ".yml"))
COMPOSE = [INFRA / "compose.yaml", INFRA / "flink/compose.yaml"]
MANIFESTS = sorted((INFRA / "kubernetes").glob("*.yaml"))


def documents(path: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    spec = document.get("spec", {})
    template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
    return template["spec"]["containers"] if template else []


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of moodstream in compose files, manifests and the page about live runs."""
    for path in COMPOSE:
        for name, service in documents(path)[0]["services"].items():
            if service.get("image") == "moodstream" or "<<" in service or "build" in service:
                said = service.get("command")
                if said:
                    yield f"{path.relative_to(ROOT)}:{name}", shlex.split(said)
    for path in MANIFESTS:
        for document in documents(path):
            for container in containers(document):
                yield f"{path.name}:{container['name']}", [str(word) for word in container["args"]]
    for page in ("docs/live.md", "docs/privacy.md"):
        text = (ROOT / page).read_text().replace("\\\n", " ")
        for line in re.findall(r"^ {4}moodstream (.*)$", text, re.MULTILINE):
            yield page, shlex.split(line, comments=True)


@pytest.mark.parametrize(("where", "words"), commands())
def test_every_command_line_parses(where: str, words: list[str]) -> None:
    command = cli.commands[words[0]]
    try:
        command.make_context(words[0], list(words[1:]))
    except click.UsageError as error:
        if "does not exist" not in error.format_message():
            pytest.fail(f"{where}: moodstream {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_parses(path: Path) -> None:
    assert documents(path)


def measures() -> set[str]:
    """What our processes tell, as Prometheus names it."""
    names, served = set(), Measures()
    state = SimpleNamespace(ready=True, filling=False)
    served.watch(SimpleNamespace(state=state))  # type: ignore[arg-type]
    served.watch_live(Feed(Cluster("nowhere:9092"), Topics(), ServeConfig(Path())).measures)
    assert served.registry is not None
    for registry in (Metrics().registry, LandMetrics().registry, served.registry):
        for family in registry.collect():
            kinds = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
                family.type, ("",)
            )
            names |= {family.name + kind for kind in kinds}
    return names


def expressions() -> Iterator[tuple[str, str]]:
    for path in sorted(INFRA.rglob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
    for group in documents(INFRA / "prometheus/alerts.yml")[0]["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def test_dashboards_and_alerts_name_measures_that_exist() -> None:
    known, named = measures(), set()
    for where, expression in expressions():
        found = set(re.findall(r"\b(?:moodstream|process)_\w+", expression))
        assert found, where
        assert found <= known, where
        assert expression.count("(") == expression.count(")"), where
        named |= found
    ours = {name for name in known if name.startswith("moodstream_")}
    unseen = {name for name in ours - named if not name.endswith(("_sum", "_count"))}
    assert unseen <= {"moodstream_land_seconds_bucket"}, "measures that no dashboard shows"


def test_compose_mounts_files_that_exist() -> None:
    for path in COMPOSE:
        document = documents(path)[0]
        for service in document["services"].values():
            for volume in service.get("volumes", ()):
                source = volume.split(":")[0]
                if source.startswith("."):
                    assert (INFRA / source).exists(), source
                else:
                    assert source in document["volumes"], source
            if isinstance(service.get("build"), dict):
                assert (INFRA / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_prometheus_looks_where_the_processes_serve() -> None:
    services = documents(INFRA / "compose.yaml")[0]["services"]
    for job in documents(INFRA / "prometheus/prometheus.yml")[0]["scrape_configs"]:
        for where in job["dns_sd_configs"]:
            for name in where["names"]:
                assert f"--metrics-port {where['port']}" in services[name]["command"]


def test_what_others_can_reach_has_keys_and_stays_within() -> None:
    """The service is bound to every address of its container: it has keys, its ports are not the world's."""
    seen = 0
    for where, words in commands():
        if words[0] != "serve" or "docs" in where:
            continue
        seen += 1
        said = " ".join(words).replace("=", " ")
        assert "--host 0.0.0.0" in said, where
        assert re.search(r"--keys /\S+", said), where
        assert re.search(r"--audit /\S+", said), where
    assert seen == 2
    for port in documents(INFRA / "compose.yaml")[0]["services"]["serve"]["ports"]:
        assert port.startswith("127.0.0.1:")
    kinds = [(one["kind"], one) for path in MANIFESTS for one in documents(path)]
    (policy,) = (one for kind, one in kinds if kind == "NetworkPolicy")
    (rule,) = (rule for rule in policy["spec"]["ingress"] if rule["ports"] == [{"port": "metrics"}])
    assert rule["from"]
    (retention,) = (
        one for kind, one in kinds if kind == "CronJob" and "retention" in one["metadata"]["name"]
    )
    assert retention["spec"]["suspend"] is True


def test_the_image_has_what_its_commands_need() -> None:
    installed = re.search(r"'\.\[([\w,]+)\]'", (INFRA / "Dockerfile").read_text())
    assert installed
    assert {"kafka", "metrics", "postgres", "serve"} <= set(installed[1].split(","))


def test_volumes_that_are_mounted_are_there() -> None:
    for path in MANIFESTS:
        every = documents(path)
        claims = {one["metadata"]["name"] for one in every if one["kind"] == "PersistentVolumeClaim"}
        for document in every:
            spec = document.get("spec", {})
            template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
            if not template:
                continue
            volumes = {one["name"]: one for one in template["spec"].get("volumes", ())}
            volumes |= {one["metadata"]["name"]: {} for one in spec.get("volumeClaimTemplates", ())}
            for container in template["spec"]["containers"]:
                for mount in container.get("volumeMounts", ()):
                    assert mount["name"] in volumes, container["name"]
            wanted = {
                one["persistentVolumeClaim"]["claimName"]
                for one in volumes.values()
                if "persistentVolumeClaim" in one
            }
            assert wanted <= claims


def test_long_runs_have_probes_and_limits() -> None:
    seen = 0
    for path in MANIFESTS:
        for document in documents(path):
            assert document["kind"]
            assert document["metadata"]["name"]
            for container in containers(document):
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}
                assert "memory" in container["resources"]["limits"]
                if document["kind"] in ("Job", "CronJob"):
                    continue
                seen += 1
                ports = {port["name"]: port["containerPort"] for port in container["ports"]}
                assert f"--metrics-port={ports['metrics']}" in container["args"]
                for probe, path_of in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
                    assert container[probe]["httpGet"] == {"path": path_of, "port": "metrics"}
    assert seen == 3
