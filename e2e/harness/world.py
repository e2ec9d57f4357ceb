"""The world that stories happen in: cluster, git host, scripted LLM, Palisade installed by its chart. Each part is made once and left."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from e2e.cluster import settings
from e2e.gitea import __main__ as gitea
from e2e.gitea.api import CA, Project, create_project
from e2e.harness import feedback, shapes, turned_model
from e2e.harness.shell import ROOT, TOOLS, apply, kubectl, kubectl_json, run

SYSTEM = "palisade-system"
GATEWAY = "palisade-gateway"
# What the gateway calls the scripted model with, and what a workspace shows to a gateway of somebody else's: no session ever sees the first.
LLM_KEY = "sk-e2e-7f3a91c04be2468d"
VIRTUAL_KEY = "sk-virtual-20c6e85d17b94f3a"
OWN_LLM = "own"  # the name of that other gateway
BASE_IMAGE = "localhost/palisade/base:bookworm"
AGENT_IMAGE = "localhost/palisade/aider:dev"
CONTROL_PLANE = "localhost/palisade/control-plane"

EDIT_FILE = "src/login.py"
EDIT_REQUEST = "Make the login form accept spaces"
BEFORE_LINE = "    return name.isalnum()"
EDITED_LINE = "    return all(part.isalnum() for part in name.split(' '))"
FILES = {
    "README.md": "# App\n",
    EDIT_FILE: f'"""The login form."""\n\n\ndef is_valid(name: str) -> bool:\n{BEFORE_LINE}\n',
}
EDIT_REPLY = f"""The form accepts names with spaces now.

{EDIT_FILE}
```python
<<<<<<< SEARCH
{BEFORE_LINE}
=======
{EDITED_LINE}
>>>>>>> REPLACE
```
"""
COMMIT_MESSAGE = "feat: accept spaces in login names"
LLM_SCRIPT = {
    "rules": [
        # Aider asks for the commit message with the session's talk in the user message: this rule comes first.
        {"contains": "one-line Git commit message", "anywhere": True, "reply": COMMIT_MESSAGE},
        *feedback.RULES,
        *shapes.RULES,
        {"contains": EDIT_REQUEST, "reply": EDIT_REPLY},
        {"contains": turned_model.REDTEAM_REQUEST, "reply": EDIT_REPLY + "\n" + turned_model.REDTEAM_EDIT},
        {"contains": turned_model.REQUEST, "reply": turned_model.REPLY},
        {"contains": turned_model.OUTSIDE_REQUEST, "reply": turned_model.OUTSIDE_REPLY},
    ],
    "default": "I have nothing to say to that.",
    "keys": {"/v1": LLM_KEY, "/byo/v1": VIRTUAL_KEY},
}


def _llm_objects() -> list[dict[str, Any]]:
    labels = {"app": "llm"}
    meta = {"name": "llm", "namespace": "llm"}
    container = {
        "name": "llm",
        "image": BASE_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/script/server.py", "/script/script.json", "8080"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [{"name": "script", "mountPath": "/script"}],
    }
    data = {"server.py": (ROOT / "e2e" / "llm" / "server.py").read_text(), "script.json": json.dumps(LLM_SCRIPT)}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "llm"}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {
                    # A new script is a new pod.
                    "metadata": {"labels": labels, "annotations": {"script": hashlib.sha256(json.dumps(data).encode()).hexdigest()}},
                    "spec": {
                        "terminationGracePeriodSeconds": 1,
                        "containers": [container],
                        "volumes": [{"name": "script", "configMap": {"name": "llm"}}],
                    },
                },
            },
        },
    ]


def load_images() -> None:
    run([str(ROOT / "e2e/cluster/image"), "load", BASE_IMAGE, f"{CONTROL_PLANE}:dev", AGENT_IMAGE], timeout=300)


def name_again(reference: str, tag: str) -> str:
    """The loaded image under another tag, too."""
    again = reference.rpartition(":")[0] + ":" + tag
    run([str(TOOLS / "ctr"), "--address", "/run/palisade-e2e/containerd.sock", "-n", "k8s.io", "images", "tag", "--force", reference, again])
    return again


def image_stamp(reference: str) -> str:
    """What e2e/cluster/image wrote down when it built the image: another text for other content."""
    name = reference.removeprefix("localhost/").replace("/", "_").replace(":", "_")
    return (settings.IMAGES / f"{name}.tar.stamp").read_text().strip()


def start_llm() -> None:
    apply(*_llm_objects())
    kubectl("rollout", "status", "deployment/llm", "-n", "llm", "--timeout=120s", timeout=130)


def install_palisade(annotations: dict[str, str] | None = None, archive: dict[str, Any] | None = None, *, chart: str = "charts/palisade", **more: Any) -> str:
    """helm upgrade --install of the chart, with annotations of its pods, others of which roll them, `archive` as gateway.archive, and `more` values of its
    top level; returns what Helm printed."""
    # The cluster has no DNS: the gateway knows the model's Service by its address.
    model = kubectl_json("get", "service", "llm", "-n", "llm")["spec"]["clusterIP"]
    values = {
        "image": {"repository": CONTROL_PLANE, "tag": "dev"},
        # The tag stays the same when the image is built anew; its stamp rolls the pods.
        "podAnnotations": {"palisade.dev/image-stamp": image_stamp(f"{CONTROL_PLANE}:dev"), **(annotations or {})},
        "agentImage": AGENT_IMAGE,
        "llmGateways": [{"name": "default", "url": "palisade"}, {"name": OWN_LLM, "url": "http://llm.llm.svc:8080/byo/v1"}],
        "gateway": {
            "hostAliases": [{"ip": model, "hostnames": ["llm.llm.svc"]}],
            "archive": archive or {},
            "config": {
                "llm": {
                    "upstreams": [
                        {"name": "scripted", "url": "http://llm.llm.svc:8080/v1", "kind": "openai", "keySecret": {"name": "scripted", "key": "api-key"}}
                    ],
                    "models": [
                        {"name": name, "routes": [{"upstream": "scripted", "model": name}], "price": {"inputPerMillion": "2.50", "outputPerMillion": "10.00"}}
                        for name in ("gpt-4o", "gpt-4o-mini")
                    ],
                }
            },
            "networkPolicy": {
                "upstreams": [
                    {
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "llm"}}, "podSelector": {"matchLabels": {"app": "llm"}}}],
                        "ports": [{"protocol": "TCP", "port": 8080}],
                    },
                    {"to": [{"ipBlock": {"cidr": f"{settings.GIT_IP}/32"}}], "ports": [{"protocol": "TCP", "port": settings.GIT_PORT}]},
                ]
            },
        },
        "webhook": {"replicas": 1, "registries": {"ca": CA.read_text()}},
        "networkPolicy": {
            # Where the operator mints tokens.
            "gitHosts": [{"to": [{"ipBlock": {"cidr": f"{settings.GIT_IP}/32"}}], "ports": [{"protocol": "TCP", "port": settings.GIT_PORT}]}],
            # Where the webhook looks for signatures: Gitea is a registry too. At all ports, at most of which nobody listens.
            "registries": [{"to": [{"ipBlock": {"cidr": f"{settings.GIT_IP}/32"}}]}],
        },
        "logLevel": "info",
        "gitCA": CA.read_text(),
        **more,
    }
    command = [str(TOOLS / "helm"), "upgrade", "--install", "palisade", chart, "--namespace", SYSTEM, "--create-namespace", "--values", "-"]
    done = run([*command, "--wait", "--timeout", "180s"], stdin=json.dumps(values), timeout=240)
    # The verdict must come from the webhook, not from a cluster that has not heard of it yet.
    # The namespace is the release's to make. The gateway takes keys up as they come.
    apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scripted", "namespace": GATEWAY}, "stringData": {"api-key": LLM_KEY}},
    )
    kubectl("wait", "--for=jsonpath={.webhooks[0].clientConfig.caBundle}", "validatingwebhookconfiguration/palisade-webhook", "--timeout=60s")
    return done.stdout


@dataclass
class World:
    outside: str = f"{settings.OUTSIDE_IP}:{settings.OUTSIDE_PORT}"
    git_address: str = f"{settings.GIT_IP}:{settings.GIT_PORT}"
    base_image: str = BASE_IMAGE
    _projects: dict[str, Project] = field(default_factory=dict)

    def prepare(self) -> None:
        load_images()
        gitea.up()
        start_llm()
        install_palisade()

    def project(self, name: str, files: dict[str, str] | None = None) -> Project:
        """A repository of that name with the story's files (or `files`), and a token that reaches it alone."""
        if name not in self._projects:
            self._projects[name] = create_project(name, files or FILES)
        return self._projects[name]

    @staticmethod
    def json(value: dict[str, Any]) -> str:
        return json.dumps(value)
