"""The manifests for Kubernetes, held against Kubernetes' own schemas and Dagster's own launcher, without a cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

DOCKER = Path(__file__).parent.parent.parent / "docker"
FOLDER = DOCKER / "kubernetes"
VERSION = "1.33"
INSTANCE: dict[str, Any] = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
LAUNCHER: dict[str, Any] = INSTANCE["run_launcher"]["config"]


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        # Without kustomize what it changes is missing, and all else is the same.
        return [*yaml.safe_load_all((FOLDER / "platform.yaml").read_text())]
    done = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=True)
    return [*yaml.safe_load_all(done.stdout)]


def named(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def test_each_manifest_is_right_for_kubernetes(manifests: list[dict[str, Any]]):
    assert {"Deployment", "Role", "RoleBinding", "PersistentVolumeClaim"} <= {each["kind"] for each in manifests}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_a_mistake_in_a_manifest_is_found(manifests: list[dict[str, Any]]):
    code = named(manifests, "Deployment")["code"]
    code["spec"]["template"]["spec"]["container"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="container"):
        kubernetes_validate.validate(code, VERSION, strict=True)


def test_what_a_manifest_names_is_there(manifests: list[dict[str, Any]]):
    claims = named(manifests, "PersistentVolumeClaim").keys()
    accounts = named(manifests, "ServiceAccount").keys()
    for deployment in named(manifests, "Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] in accounts
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert {
            v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v
        } <= claims
    assert LAUNCHER["service_account_name"] in accounts
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in LAUNCHER["volumes"]} <= claims


def test_the_image_is_run_as_the_user_it_was_made_for(manifests: list[dict[str, Any]]):
    user = re.search(r"^USER (\d+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    for deployment in named(manifests, "Deployment").values():
        context = deployment["spec"]["template"]["spec"]["securityContext"]
        assert context == {"runAsNonRoot": True, "fsGroup": int(user[1])}


def test_dagster_takes_the_launcher_s_settings_and_makes_a_right_job_of_a_run():
    processed = process_config(dg.Shape(K8sRunLauncher.config_type()), LAUNCHER)
    assert processed.success, processed.errors
    config: Any = processed.value
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="pipeline-platform",
            dagster_home=config["dagster_home"],
            instance_config_map=config["instance_config_map"],
            service_account_name=config["service_account_name"],
            env_config_maps=config["env_config_maps"],
            env_secrets=config["env_secrets"],
            volumes=config["volumes"],
            volume_mounts=config["volume_mounts"],
        ),
        args=["dagster", "api", "execute_run"],
        job_name="run",
        user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config["run_k8s_config"]),
    )
    made: Any = ApiClient().sanitize_for_serialization(job)
    kubernetes_validate.validate(made, VERSION, strict=True)
    pod = made["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 120
    names = {variable["name"] for variable in pod["containers"][0]["env"]}
    assert {"POD_IP", "POD_NAME", "DAGSTER_HOME"} <= names
    assert {"mountPath": "/work/streams", "name": "streams"} in pod["containers"][0]["volumeMounts"]


def test_the_instance_is_that_of_other_deployments_but_for_the_launcher():
    other = yaml.safe_load((DOCKER / "dagster.yaml").read_text())
    assert {key: INSTANCE[key] for key in other} == other
    assert INSTANCE.keys() - other.keys() == {"run_launcher", "run_monitoring"}
