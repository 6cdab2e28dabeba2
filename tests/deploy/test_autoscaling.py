"""The autoscaler of the chart: what it asks for, and that an upgrade leaves the number of pods to it."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import Running
from tests.deploy.conftest import CHART, Manifests

OBJECT = "/apis/apps/v1/namespaces/default/deployments/calibrant"


def answers(n_pods: int | None) -> dict[str, Any]:
    """What a cluster says of itself, by path, and of the Deployment where there is one."""
    version = {"groupVersion": "apps/v1", "version": "v1"}
    kind = {"name": "deployments", "singularName": "deployment", "namespaced": True, "kind": "Deployment", "verbs": []}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"replicas": n_pods}}
    return {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis": {
            "kind": "APIGroupList",
            "groups": [{"name": "apps", "versions": [version], "preferredVersion": version}],
        },
        "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [kind]},
    } | ({} if n_pods is None else {OBJECT: deployment})


@contextmanager
def cluster(n_pods: int | None) -> Iterator[str]:
    """As much of a Kubernetes as helm asks when a template looks something up; the kubeconfig for it."""
    known = answers(n_pods)

    class Answering(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            there = known.get(self.path.partition("?")[0])
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            body = json.dumps(there or missing).encode()
            self.send_response(200 if there else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield json.dumps(
                {
                    "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                    "users": [{"name": "it", "user": {}}],
                    "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                    "current-context": "it",
                }
            )
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("enabled", "n_pods", "expected"),
    [(True, None, 2), (True, 7, 7), (True, 0, 0), (False, 7, 3)],
    ids=["first install", "scaled up", "switched off by hand", "no autoscaler"],
)
def test_an_upgrade_leaves_as_many_pods_as_there_are(
    enabled: bool, n_pods: int | None, expected: int, helm: ModuleType, yaml: ModuleType
) -> None:
    values = {"autoscaling": {"enabled": enabled}, "replicas": 3}
    with (
        cluster(n_pods) as kubeconfig,
        helm.Config(kubeconfig_content=kubeconfig, namespace="default", storage_driver="memory") as config,
        helm.Chart.load(CHART) as chart,
    ):
        rendered = config.render(chart, values, name="calibrant", namespace="default", is_upgrade=n_pods is not None)
    assert yaml.safe_load(rendered["calibrant/templates/deployment.yaml"])["spec"]["replicas"] == expected


def test_files_for_kubectl_leave_the_number_of_pods_to_the_autoscaler(manifests: Manifests) -> None:
    assert "replicas" not in manifests()["Deployment"]["spec"]
    assert manifests(autoscaling={"enabled": False})["Deployment"]["spec"]["replicas"] == 2


def test_the_autoscaler_asks_for_a_metric_that_there_is(manifests: Manifests, running: Running) -> None:
    metrics = manifests("everything")["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metrics[1]["pods"]["metric"]["name"]
    assert re.search(rf"^{name} ", running.client.get("/metrics").text, re.MULTILINE)
