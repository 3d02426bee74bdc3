"""What is applied is what Kubernetes and KubeRay accept, to the last field, and says what it should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import kubernetes_validate
import pytest

from jupyter_ext.clusters.backends.kuberay import names, objects
from jupyter_ext.clusters.backends.kuberay.names import Identity
from jupyter_ext.clusters.backends.kuberay.options import FaultTolerance, HeadOptions, Kind, Network, Options, Storage
from jupyter_ext.clusters.backends.kuberay.pods import PORTS, container_security
from support import crd

ADA = Identity("team", "ada", "default", namespace="ray")
IMAGE = "registry.example.org/ray:1"
CPU = Kind(name="cpu", cpu=4, memory="16Gi", max_nodes=4)
GPU = Kind(
    name="gpu", cpu=8, memory="64Gi", gpu=1, max_nodes=2, idle_timeout=60, priority=1, priority_class="training",
    node_selector={"node.kubernetes.io/instance-type": "g5"}, labels={"accelerator": "a10g"},
)  # fmt: skip
SPOT = Kind(name="spot", cpu=2, memory="8Gi", max_nodes=8, min_nodes=1, pool="stateless")

KINDS = {"cpu": CPU, "gpu": GPU, "spot": SPOT}

VARIANTS: dict[str, Options] = {
    "plain": Options(image=IMAGE),
    "no workers": Options(image=IMAGE, worker_kinds={}),
    "kinds": Options(image=IMAGE, worker_kinds=KINDS),
    "pools": Options(image=IMAGE, worker_kinds=KINDS, pool_label="example.org/pool"),
    "redis": Options(
        image=IMAGE,
        fault_tolerance=FaultTolerance(
            backend="redis", redis_address="redis.ray:6380", redis_username="ray", redis_secret="redis"
        ),
    ),
    "rocksdb": Options(image=IMAGE, fault_tolerance=FaultTolerance(backend="rocksdb", storage_class="fast")),
    "storage": Options(image=IMAGE, storage=Storage(secret="s3", claim="shared", path="/mnt/shared")),
    "own namespace": Options(
        image=IMAGE, own_namespace=True, quota={"requests.nvidia.com/gpu": "4", "pods": "20"},
        limits={"defaultRequest": {"cpu": "100m", "memory": "128Mi"}, "default": {"memory": "512Mi"}},
    ),
    "all else": Options(
        image=IMAGE, image_pull_policy="Always", image_pull_secrets=("registry",), ray_version="2.60.0",
        head=HeadOptions(
            cpu=4, memory="16Gi", priority_class="head", node_selector={"disk": "ssd"},
            tolerations=({"key": "dedicated", "operator": "Exists"},),
            pod={"spec": {"containers": [{"name": "sidecar", "image": "sidecar:1"}]}},
        ),
        upscaling="Conservative", environment={"A": "1"}, network=Network(supervisor={"app": "hub"}, namespace="hub"),
        service_account_annotations={"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/ray"},
        pod={
            "metadata": {"labels": {"team": "ml"}},
            "spec": {
                "volumes": [{"name": "cache", "emptyDir": {}}],
                "containers": [{"name": "ray", "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]}],
                "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["store"]}],
            },
        },
    ),
    "no policies": Options(image=IMAGE, network=None),
}  # fmt: skip

variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
needs_schema = pytest.mark.skipif(not crd.FILE.is_file(), reason=crd.ABSENT)


def cluster(options: Options = VARIANTS["kinds"], identity: Identity = ADA, **how: Any) -> dict[str, Any]:
    return objects.ray_cluster(identity, options, **how)


def pods_of(made: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [made["spec"]["headGroupSpec"], *made["spec"]["workerGroupSpecs"]]
    return [group["template"] for group in groups]


def ray(spec: dict[str, Any]) -> Any:
    return spec["headGroupSpec"]["template"]["spec"]["containers"][0]


def others(options: Options, identity: Identity = ADA) -> list[dict[str, Any]]:
    return [*objects.namespace_objects(identity, options), *objects.dependents(identity, options, "t0ken")]


# Validation


@needs_schema
@variants
@pytest.mark.parametrize("suspend", [False, True])
def test_ray_clusters_are_valid_to_the_last_field(options: Options, suspend: bool) -> None:
    assert crd.problems(cluster(options, suspend=suspend)) == []


@needs_schema
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda spec: spec.update(enableIntreeAutoscaling=True), 'unknown field "spec.enableIntreeAutoscaling"'),
        (lambda spec: spec["workerGroupSpecs"][0].update(maxReplica=1), "maxReplica"),
        (lambda spec: spec["headGroupSpec"]["template"]["spec"].update(tolerance=[]), "tolerance"),
        (lambda spec: ray(spec).update(imagePulPolicy="Always"), "imagePulPolicy"),
        (lambda spec: spec["autoscalerOptions"].update(version="v3"), "v3"),
        (lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas="4"), "'4' is not of type 'integer'"),
        (lambda spec: spec["workerGroupSpecs"][0].pop("groupName"), "'groupName' is a required property"),
        (lambda spec: ray(spec).update(resources={"limits": {"cpu": "4 cores"}}), "4 cores"),
    ],
)
def test_the_check_itself_finds_mistakes(spoil: Callable[[dict[str, Any]], Any], said: str) -> None:
    spoiled = json.loads(json.dumps(cluster()))
    spoil(spoiled["spec"])
    found = crd.problems(spoiled)
    assert found
    assert said in " ".join(found)


@variants
@pytest.mark.parametrize("version", ["1.28", "1.32", kubernetes_validate.latest_version()])
def test_all_other_objects_are_valid_to_the_last_field(options: Options, version: str) -> None:
    for item in others(options):
        kubernetes_validate.validate(item, version, strict=True)


@variants
def test_templates_make_valid_pods(options: Options) -> None:
    for template in pods_of(cluster(options)):
        pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "pod"}}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


def test_the_strict_check_of_the_others_finds_mistakes() -> None:
    budget = objects.disruption_budget(ADA)
    budget["spec"]["minAvailabel"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="minAvailabel"):
        kubernetes_validate.validate(budget, kubernetes_validate.latest_version(), strict=True)


@needs_schema
@variants
def test_the_rules_that_the_schema_leaves_to_cel_hold(options: Options) -> None:
    # A new version of the schema with a new rule fails here, so that somebody looks at it.
    assert crd.rules() == {
        (".spec.managedBy", "self == oldSelf"),
        (".spec.managedBy", "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']"),
        (".spec.gcsFaultToleranceOptions.backend", "self == oldSelf"),
    }
    spec = cluster(options)["spec"]
    # The operator reconciles a cluster that names no manager; the immutable backend is in no patch of ours, which
    # write two numbers of worker groups, `suspend` and an annotation only (the fake API server checks that it holds).
    assert "managedBy" not in spec
    assert spec.get("gcsFaultToleranceOptions", {}).get("backend") in (None, "redis", "rocksdb")


@variants
def test_the_operators_own_rules_hold(options: Options) -> None:
    """KubeRay v1.7, `ray-operator/controllers/ray/utils/validation.go`."""
    made = cluster(options)
    spec = made["spec"]
    assert len(made["metadata"]["name"]) <= 53
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", made["metadata"]["name"])
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52, 0), "the first with tokens"
    assert "enableK8sTokenAuth" not in spec["authOptions"]
    assert not {"upgradeStrategy", "networkPolicy", "tlsOptions", "historyServerOptions"} & spec.keys()
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert "labels" not in group["rayStartParams"]
        assert not group.get("resources")
        assert group["template"]["spec"]["restartPolicy"] == "Never"
        container = group["template"]["spec"]["containers"][0]
        assert container["name"] == "ray", "KubeRay takes the first container for Ray's"
        managed = {
            "RAY_enable_autoscaler_v2",
            "RAY_REDIS_ADDRESS",
            "REDIS_PASSWORD",
            "REDIS_USERNAME",
            "RAY_gcs_storage",
        }
        assert not managed & {variable["name"] for variable in container["env"]}
    for group in spec["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["maxReplicas"]
        assert "suspend" not in group
    kept = spec.get("gcsFaultToleranceOptions", {})
    assert not (kept.get("backend") == "redis" and "storage" in kept)
    assert not (kept.get("backend") == "rocksdb" and {"redisAddress", "redisUsername", "redisPassword"} & kept.keys())


@variants
@pytest.mark.parametrize("owner", ["ada", "Ada.Lovelace+test@example.org", "王小明", "-", "x" * 300, "a--b"])
def test_names_and_labels_are_valid_whoever_the_owner_is(options: Options, owner: str) -> None:
    identity = Identity("the team's", owner, "My cluster, no. 1", namespace="ray")
    made = cluster(options, identity)
    for item in (made, *others(options, identity), *pods_of(made)):
        metadata = item["metadata"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", metadata.get("name", "a"))
        for value in metadata["labels"].values():
            assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", value)
    assert made["metadata"]["annotations"][names.OWNER] == owner
    assert made["metadata"]["annotations"][names.CLUSTER] == "My cluster, no. 1"


# What they say


def test_the_head_schedules_and_runs_no_tasks() -> None:
    spec = cluster()["spec"]
    started = spec["headGroupSpec"]["rayStartParams"]
    assert (started["num-cpus"], started["dashboard-host"]) == ("0", "0.0.0.0")
    # KubeRay sets this variable to the pod's name, in whose name Ray then speaks of the node.
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert {group["rayStartParams"]["node-name"] for group in groups} == {"$RAY_CLOUD_INSTANCE_ID"}
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    ports = {port["containerPort"] for port in pods_of(cluster())[0]["spec"]["containers"][0]["ports"]}
    # The head's service has those ports that the container names, and all of KubeRay's own must be among them.
    assert ports >= {6379, 8265, 10001, 52365}


def test_kinds_become_worker_groups_and_replicas_are_left_to_the_autoscaler() -> None:
    groups = {group["groupName"]: group for group in cluster()["spec"]["workerGroupSpecs"]}
    assert {name: (group["minReplicas"], group["maxReplicas"]) for name, group in groups.items()} == {
        "cpu": (0, 4),
        "gpu": (0, 2),
        "spot": (1, 8),
    }
    assert not any("replicas" in group or "scaleStrategy" in group for group in groups.values())
    assert (groups["gpu"]["idleTimeoutSeconds"], groups["gpu"]["priority"]) == (60, 1)
    assert groups["gpu"]["labels"] == {"accelerator": "a10g"}


def test_gpus_are_asked_for_as_ray_and_kubernetes_count_them() -> None:
    cpu, gpu, _ = (group["template"]["spec"] for group in cluster()["spec"]["workerGroupSpecs"])
    resources = gpu["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}
    tolerated = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    assert tolerated in gpu["tolerations"]
    assert tolerated not in cpu["tolerations"]
    assert "nvidia.com/gpu" not in cpu["containers"][0]["resources"]["limits"]
    assert (gpu["priorityClassName"], gpu["nodeSelector"]) == ("training", {"node.kubernetes.io/instance-type": "g5"})
    assert GPU.resources == {"CPU": 8.0, "GPU": 1.0, "memory": 64 * 2**30}


def test_a_pod_that_is_told_to_end_has_time_to_drain_and_to_save() -> None:
    for template in pods_of(
        cluster(Options(image=IMAGE, worker_kinds={"gpu": GPU}, drain_time=40, checkpoint_time=120))
    ):
        spec = template["spec"]
        environment = {variable["name"]: variable["value"] for variable in spec["containers"][0]["env"]}
        assert environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "40"
        assert spec["terminationGracePeriodSeconds"] >= 160
        # `ray stop` there would end Ray before it drains; a hook that fails would be no notice at all.
        command = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:2] == ["python", "-m"]
        assert find_spec(command[2]) is not None


def test_pools_split_the_machines() -> None:
    head, cpu, _, spot = pods_of(cluster(VARIANTS["pools"]))
    for template, pool in ((head, "stateful"), (cpu, "stateful"), (spot, "stateless")):
        spec = template["spec"]
        taint = {"key": "example.org/pool", "operator": "Equal", "value": pool, "effect": "NoSchedule"}
        assert taint in spec["tolerations"]
        required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        expression = {"key": "example.org/pool", "operator": "In", "values": [pool]}
        assert required == {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
        assert template["metadata"]["labels"][names.POOL] == pool


def test_without_pools_pods_run_anywhere_but_gather() -> None:
    for template in pods_of(cluster(VARIANTS["kinds"])):
        assert "nodeAffinity" not in template["spec"]["affinity"]
        (term,) = template["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert (term["weight"], term["podAffinityTerm"]["topologyKey"]) == (100, "kubernetes.io/hostname")
        wanted = term["podAffinityTerm"]["labelSelector"]["matchLabels"]
        assert wanted.items() <= template["metadata"]["labels"].items(), "it gathers with its like"


def test_only_what_may_vanish_may_be_evicted_to_save_machines() -> None:
    head, _, _, spot = pods_of(cluster())
    assert head["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert head["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    assert spot["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"
    assert "karpenter.sh/do-not-disrupt" not in spot["metadata"]["annotations"]
    budget = objects.disruption_budget(ADA)["spec"]
    assert (budget["minAvailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert isinstance(budget["minAvailable"], int)
    assert budget["selector"] == {"matchLabels": {"ray.io/cluster": "ray-ada--default", "ray.io/node-type": "head"}}


@variants
def test_user_code_has_no_way_to_the_api_server(options: Options) -> None:
    """KubeRay lets the head's account change all pods of the namespace, and jobs' drivers may run on the head."""
    made = cluster(options)
    for template in pods_of(made):
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in template["spec"]["containers"]:
            assert "api-access" not in [mount["name"] for mount in container.get("volumeMounts", [])]
    (volume,) = [each for each in pods_of(made)[0]["spec"]["volumes"] if each["name"] == "api-access"]
    assert [next(iter(source)) for source in volume["projected"]["sources"]] == [
        "serviceAccountToken", "configMap", "downwardAPI",
    ]  # fmt: skip
    # The autoscaler alone has it, in a container of its own.
    (mount,) = made["spec"]["autoscalerOptions"]["volumeMounts"]
    assert mount["name"] == "api-access"
    accounts = [item for item in others(options) if item["kind"] == "ServiceAccount"]
    assert [item["metadata"]["name"] for item in accounts] == ["ray-ada--default-head", "ray-ada--default-worker"]
    assert not any(item["automountServiceAccountToken"] for item in accounts)
    head, *workers = pods_of(made)
    assert head["spec"]["serviceAccountName"] == "ray-ada--default-head"
    assert {template["spec"]["serviceAccountName"] for template in workers} <= {"ray-ada--default-worker"}


def test_every_container_is_confined() -> None:
    made = cluster()
    for template in pods_of(made):
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        assert template["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in template["spec"]["containers"]:
            assert container["securityContext"] == container_security()
    assert made["spec"]["autoscalerOptions"]["securityContext"] == container_security()


def test_the_token_is_in_the_secret_alone() -> None:
    secret = objects.secret(ADA, "t0ken")
    assert secret["data"] == {"auth_token": "dDBrZW4="}
    made = cluster()
    assert made["spec"]["authOptions"] == {"mode": "token", "secretName": secret["metadata"]["name"]}
    rest = [made, *(item for item in others(VARIANTS["kinds"]) if item["kind"] != "Secret")]
    assert "t0ken" not in json.dumps(rest)
    assert "dDBrZW4=" not in json.dumps(rest)


def policies(options: Options, owner: str = "ada") -> tuple[dict[str, Any], dict[str, Any]]:
    everyone, head = objects.network_policies(Identity("team", owner, "default", namespace="ray"), options)
    return everyone["spec"], head["spec"]


def test_pods_of_one_cluster_reach_each_other_and_dns_and_the_web_but_not_the_metadata_service() -> None:
    everyone, _ = policies(VARIANTS["plain"])
    same = {"podSelector": {"matchLabels": {"ray.io/cluster": "ray-ada--default"}}}
    assert everyone["podSelector"] == same["podSelector"]
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert everyone["ingress"] == [{"from": [same]}]
    itself, dns, web = everyone["egress"]
    assert itself == {"to": [same]}
    assert {(port["protocol"], port["port"]) for port in dns["ports"]} == {("UDP", 53), ("TCP", 53)}
    assert web["ports"] == [{"protocol": "TCP", "port": 443}]
    assert web["to"][0]["ipBlock"]["except"] == ["169.254.169.254/32"]


def test_the_head_alone_is_reached_by_its_owners_notebook_and_the_supervisor() -> None:
    _, head = policies(VARIANTS["all else"], "Ada.Lovelace@example.org")
    (rule,) = head["ingress"]
    assert [port["port"] for port in rule["ports"]] == [PORTS["dashboard"], PORTS["job-agent"]]
    notebook, supervisor = rule["from"]
    assert notebook["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "singleuser-server",
        "hub.jupyter.org/username": "ada-lovelace-example---059b8523",
    }
    assert supervisor["podSelector"]["matchLabels"] == {"app": "hub"}
    hub = {"matchLabels": {"kubernetes.io/metadata.name": "hub"}}
    assert notebook["namespaceSelector"] == supervisor["namespaceSelector"] == hub
    assert [port["port"] for port in head["egress"][0]["ports"]] == [443, 6443]


def test_without_callers_nobody_is_let_in() -> None:
    _, head = policies(Options(image=IMAGE, network=Network(notebook={})))
    assert head["ingress"] == [], "a rule with an empty `from` would let everybody in"


def test_a_redis_is_reached() -> None:
    everyone, _ = policies(VARIANTS["redis"])
    assert {"ports": [{"protocol": "TCP", "port": 6380}]} in everyone["egress"]
    assert policies(VARIANTS["rocksdb"])[0]["egress"] == policies(VARIANTS["plain"])[0]["egress"]


def test_the_heads_store_is_kept_in_redis_or_on_a_volume() -> None:
    assert cluster(VARIANTS["redis"])["spec"]["gcsFaultToleranceOptions"] == {
        "backend": "redis",
        "redisAddress": "redis.ray:6380",
        "redisUsername": {"value": "ray"},
        "redisPassword": {"valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}},
    }
    kept = cluster(VARIANTS["rocksdb"])["spec"]["gcsFaultToleranceOptions"]
    assert kept["backend"] == "rocksdb"
    assert kept["storage"] == {"size": "1Gi", "storageClassName": "fast", "deletionPolicy": "DeleteWithCluster"}
    assert "gcsFaultToleranceOptions" not in cluster(VARIANTS["plain"])["spec"]


def test_own_namespaces_have_a_quota_and_defaults() -> None:
    namespace, quota, limits = objects.namespace_objects(ADA, VARIANTS["own namespace"])
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "baseline"
    assert names.CLUSTER not in namespace["metadata"]["annotations"], "it is the user's, whatever clusters there are"
    assert quota["spec"]["hard"] == {"requests.nvidia.com/gpu": "4", "pods": "20"}
    assert limits["spec"]["limits"][0]["type"] == "Container"
    assert objects.namespace_objects(ADA, VARIANTS["plain"]) == []
    head = pods_of(cluster(VARIANTS["own namespace"]))[0]["spec"]["affinity"]["podAffinity"]
    term = head["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert term["namespaceSelector"] == {}, "it gathers with pods of other users too"


def test_what_an_administrator_adds_is_merged() -> None:
    head, worker = pods_of(cluster(VARIANTS["all else"]))
    for template in (head, worker):
        assert template["metadata"]["labels"]["team"] == "ml"
        assert template["metadata"]["labels"][names.OWNER] == "ada"
        container = template["spec"]["containers"][0]
        assert (container["name"], container["image"]) == ("ray", IMAGE)
        assert container["volumeMounts"] == [{"name": "cache", "mountPath": "/cache"}]
    assert [container["name"] for container in head["spec"]["containers"]] == ["ray", "sidecar"]
    assert [container["name"] for container in worker["spec"]["containers"]] == ["ray"]


def test_builders_leave_their_options_alone() -> None:
    options = VARIANTS["all else"]
    before = options.model_dump_json()
    first = cluster(options)
    first["spec"]["headGroupSpec"]["template"]["spec"]["tolerations"].append({"key": "x"})
    first["metadata"]["labels"]["x"] = "y"
    assert options.model_dump_json() == before
    assert cluster(options) == cluster(options) != first


def test_all_dependents_have_a_name_by_which_they_are_deleted() -> None:
    made = {(item["kind"], item["metadata"]["name"]) for item in objects.dependents(ADA, VARIANTS["plain"], "t")}
    assert made == set(objects.dependent_names(ADA))
