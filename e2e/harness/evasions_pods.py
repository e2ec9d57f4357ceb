"""Attempts through pods themselves: what is weakened, which kind makes it, and how it is disguised."""

from __future__ import annotations

from typing import Any

from e2e.harness.evasions import (
    AGENT,
    BOUNDED,
    BY_HAND,
    CORE,
    JSON_PATCH,
    MERGE,
    NEIGHBOUR,
    NOWHERE,
    OPEN,
    STRATEGIC,
    Attempt,
    Change,
    Object,
    added,
    agent,
    base64_of,
    create,
    patch,
    plain,
    spec,
    workloads,
)

PODS = f"{CORE}/pods"


def _volume(source: Object) -> Change:
    return added("volumes", {"name": "extra", **source})


def _apparmor_off(pod: Object) -> None:
    first = pod["spec"]["containers"][0]["name"]
    pod["metadata"]["annotations"] = {f"container.apparmor.security.beta.kubernetes.io/{first}": "unconfined"}


def _of_the_host(field: str, value: Any) -> Change:
    """What the API server itself refuses in a user namespace."""

    def change(pod: Object) -> None:
        pod["spec"].pop("hostUsers", None)
        spec(field, value)(pod)

    return change


def _windows_process(pod: Object) -> None:
    _of_the_host("hostNetwork", True)(pod)
    spec("securityContext.windowsOptions", {"hostProcess": True})(pod)


def _propagating(pod: Object) -> None:
    added("volumes", {"name": "shared", "emptyDir": {"sizeLimit": "1Mi"}})(pod)
    added("c.volumeMounts", {"name": "shared", "mountPath": "/shared", "mountPropagation": "HostToContainer"})(pod)


def _networks(pod: Object) -> None:
    pod["metadata"]["annotations"] = {"k8s.v1.cni.cncf.io/networks": "default/host"}


def _proc(pod: Object) -> None:
    pod["spec"]["hostUsers"] = False  # or the API server itself refuses
    spec(f"{_SECURITY}.procMount", "Unmasked")(pod)


def _bounded(pod: Object) -> None:
    pod["metadata"]["namespace"] = BOUNDED


_SECURITY = "c.securityContext"
_TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}

# What is weakened in an agent pod; anybody else's pod with the same passes. Name, control, the field that is named, the change.
_WEAKENED: list[tuple[str, str, str, Change]] = [
    ("privileged", "not-privileged", "privileged", spec(_SECURITY, {"privileged": True})),
    ("root by number", "non-zero-ids", "runAsUser", spec(f"{_SECURITY}.runAsUser", 0)),
    ("root allowed", "run-as-non-root", "runAsNonRoot", spec(f"{_SECURITY}.runAsNonRoot", False)),
    ("the root group", "non-zero-ids", "supplementalGroups", spec("securityContext.supplementalGroups", [0])),
    ("privilege escalation", "no-privilege-escalation", "allowPrivilegeEscalation", spec(f"{_SECURITY}.allowPrivilegeEscalation", True)),
    ("a writable root", "read-only-root-filesystem", "readOnlyRootFilesystem", spec(f"{_SECURITY}.readOnlyRootFilesystem", False)),
    ("a capability", "drop-all-capabilities", "capabilities", spec(f"{_SECURITY}.capabilities", {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    ("capabilities kept", "drop-all-capabilities", "capabilities", spec(f"{_SECURITY}.capabilities", {"drop": ["NET_RAW"]})),
    ("seccomp off", "seccomp-profile", "seccompProfile", spec(f"{_SECURITY}.seccompProfile", {"type": "Unconfined"})),
    ("AppArmor off", "apparmor", "appArmorProfile", spec(f"{_SECURITY}.appArmorProfile", {"type": "Unconfined"})),
    ("AppArmor off by annotation", "apparmor", "apparmor", _apparmor_off),
    ("an SELinux type", "selinux", "seLinuxOptions", spec("securityContext.seLinuxOptions", {"type": "spc_t"})),
    ("the host's network", "no-host-namespaces", "hostNetwork", _of_the_host("hostNetwork", True)),
    ("the host's processes", "no-host-namespaces", "hostPID", _of_the_host("hostPID", True)),
    ("the host's IPC", "no-host-namespaces", "hostIPC", _of_the_host("hostIPC", True)),
    ("the host's users", "user-namespace", "hostUsers", spec("hostUsers", True)),
    ("a port of the host", "host-ports", "hostPort", added("c.ports", {"containerPort": 8080, "hostPort": 8080})),
    ("a path of the host", "volume-types", "hostPath", _volume({"hostPath": {"path": "/var/run"}})),
    ("a network file system", "volume-types", "nfs", _volume({"nfs": {"server": "192.0.2.1", "path": "/"}})),
    ("an endless scratch volume", "sized-empty-dirs", "sizeLimit", _volume({"emptyDir": {}})),
    ("a projected API token", "no-service-account-token", "serviceAccountToken", _volume({"projected": {"sources": [_TOKEN]}})),
    ("the account's token", "no-service-account-token", "automountServiceAccountToken", spec("automountServiceAccountToken", True)),
    ("no memory limit", "resource-limits", "memory", spec("c.resources", {"limits": {"cpu": "1"}})),
    ("no end", "bounded-lifetime", "activeDeadlineSeconds", spec("activeDeadlineSeconds", None)),
    ("a sysctl", "no-sysctls", "sysctls", spec("securityContext.sysctls", [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}])),
    ("a raw device", "no-block-devices", "volumeDevices", _of_the_host("c.volumeDevices", [{"name": "extra", "devicePath": "/dev/xvda"}])),
    ("a probe of another host", "no-probe-host", "livenessProbe", spec("c.livenessProbe", {"httpGet": {"host": "169.254.169.254", "port": 80}})),
    ("a key by value", "no-llm-key-by-value", "env", added("c.env", {"name": "ANTHROPIC_API_KEY", "value": f"sk-ant-{'0123456789abcdef' * 3}"})),
    (
        "a Secret in the environment",
        "no-secret-in-env",
        "env",
        added("c.env", {"name": "X", "valueFrom": {"secretKeyRef": {"name": "git-token", "key": "token"}}}),
    ),
    ("an unmasked /proc", "proc-mount", "procMount", _proc),
    ("a process of the Windows node", "no-windows-host-process", "hostProcess", _windows_process),
    ("a Windows user", "linux-only", "runAsUserName", spec("securityContext.windowsOptions", {"runAsUserName": "x"})),
    ("a network of a plugin's own", "no-runtime-annotations", "annotations", _networks),
    ("a claimed device", "no-device-claims", "resourceClaims", added("resourceClaims", {"name": "d", "resourceClaimName": "c"})),
    ("mounts that come through", "no-mount-propagation", "mountPropagation", _propagating),
    ("every taint tolerated", "fair-scheduling", "tolerations", added("tolerations", {"operator": "Exists"})),
    ("a node by name", "no-node-name", "nodeName", spec("nodeName", "node-1")),
]


def _block_volume(pod: Object) -> None:
    pod["spec"].setdefault("volumes", []).append({"name": "extra", "persistentVolumeClaim": {"claimName": "c"}})


def weakened() -> list[Attempt]:
    out = []
    for name, control, named, change in _WEAKENED:
        changes = [change, _block_volume] if name == "a raw device" else [change]
        bad, good = agent(*changes), plain(*changes)
        out.append(Attempt(f"an agent pod with {name}", create(PODS, bad), (control, named), create(PODS, good)))
    other, allowed = agent(_bounded), agent(_bounded, spec("runtimeClassName", NOWHERE))
    out.append(
        Attempt(
            "an agent pod without the RuntimeClass that its namespace is bound to",
            create(f"/api/v1/namespaces/{BOUNDED}/pods", other),
            ("runtime-class", "runtimeClassName"),
            create(f"/api/v1/namespaces/{BOUNDED}/pods", allowed),
        )
    )
    bare = agent()
    bare["spec"]["initContainers"][0]["securityContext"] = {"privileged": True}
    out.append(
        Attempt(
            "a privileged sidecar beside a good agent",
            create(PODS, bare),
            ("not-privileged", "initContainers[0]"),
            create(PODS, plain(added("initContainers", {"name": "s", "image": "busybox", "restartPolicy": "Always", "securityContext": {"privileged": True}}))),
        )
    )
    uncovered = agent()
    uncovered["metadata"]["namespace"] = OPEN
    covered = agent()
    out.append(
        Attempt(
            "an agent pod that no policy closes in",
            create(f"/api/v1/namespaces/{OPEN}/pods", uncovered),
            ("deny-all-network",),
            create(PODS, covered),
        )
    )
    return out


def made_by_workloads() -> list[Attempt]:
    change = spec(f"{_SECURITY}.allowPrivilegeEscalation", True)
    out = []
    for bad, good in zip(workloads(agent(change)), workloads(plain(change)), strict=True):
        kind, path, prefix, body = bad
        words = ("no-privilege-escalation", f"{prefix}spec.containers[0].securityContext.allowPrivilegeEscalation")
        out.append(Attempt(f"a weakened agent through a {kind}", create(path, body), words, create(path, good[3])))
    return out


def _shell(script: str) -> Change:
    return spec("c.command", ["sh", "-c", script])


_YES = base64_of("exec aider --yes")
_NO = base64_of("exec nginx -g 'daemon off;'")

# How an agent is disguised, and what looks like it and is none.
_DISGUISED: list[tuple[str, Change, Change]] = [
    ("the image alone", spec("c.image", "paulgauthier/aider"), spec("c.image", "games/tomb-raider")),
    ("a mirror with a port", spec("c.image", "mirror.example.com:5000/hub/paulgauthier/aider-full:v1"), spec("c.image", "aider.example.com:5000/hub/nginx:v1")),
    ("a digest", spec("c.image", f"registry.example.com/team/my-aider@sha256:{'0' * 64}"), spec("c.image", f"registry.example.com/raider@sha256:{'0' * 64}")),
    ("capitals", spec("c.command", ["/usr/local/bin/AIDER"]), spec("c.command", ["/usr/local/bin/RAIDER"])),
    ("a console script", spec("c.command", ["/opt/venv/bin/aider", "--yes"]), spec("c.command", ["/opt/raider/bin/run"])),
    ("arguments", spec("c.args", ["--", "aider"]), spec("c.args", ["--", "aiders"])),
    ("python -m", spec("c.command", ["python3", "-Im", "aider"]), spec("c.command", ["python3", "-Im", "raider"])),
    ("python -c", spec("c.command", ["python3", "-c", "from aider.main import main; main()"]), spec("c.command", ["python3", "-c", "from raider import main"])),
    ("a module's file", spec("c.command", ["python3", "/x/site-packages/aider/__main__.py"]), spec("c.command", ["python3", "/x/raider/__main__.py"])),
    ("a shell", _shell("cd /src && exec aider --yes"), _shell("cd /src && exec raider --yes")),
    ("a shell in a shell", _shell("bash -lc \"env A=b aider --yes\""), _shell("bash -lc \"env A=b nginx\"")),
    ("quotes inside the word", _shell("ai''der --yes"), _shell("ng''inx")),
    ("a backslash inside the word", _shell("a\\ider --yes"), _shell("n\\ginx")),
    ("base64", _shell(f"echo {_YES} | base64 -d | sh"), _shell(f"echo {_NO} | base64 -d | sh")),
    ("base64 twice", _shell(f"echo {base64_of(_YES)} | base64 -d | base64 -d | sh"), _shell(f"echo {base64_of(_NO)} | base64 -d | base64 -d | sh")),
    ("a copied binary", _shell("cp $(which aider) /tmp/x && /tmp/x"), _shell("cp $(which nginx) /tmp/x && /tmp/x")),
    ("pip install at start", _shell("pip install aider-chat && python3 /run.py"), _shell("pip install raider && python3 /run.py")),
    ("uvx", spec("c.command", ["uvx", "aider-chat"]), spec("c.command", ["uvx", "ruff"])),
    ("pipx run", spec("c.command", ["pipx", "run", "aider-chat"]), spec("c.command", ["pipx", "run", "black"])),
    ("an AIDER_ variable", added("c.env", {"name": "AIDER_MODEL", "value": "gpt-4o"}), added("c.env", {"name": "RAIDER_MODEL", "value": "gpt-4o"})),
    (
        "an AIDER_ key of a ConfigMap",
        added("c.env", {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "others", "key": "AIDER_MODEL", "optional": True}}}),
        added("c.env", {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "others", "key": "MODEL", "optional": True}}}),
    ),
    (
        "an AIDER_ prefix for a ConfigMap's keys",
        added("c.envFrom", {"prefix": "AIDER_", "configMapRef": {"name": "others"}}),
        added("c.envFrom", {"prefix": "APP_", "configMapRef": {"name": "others"}}),
    ),
    (
        "a variable that the kubelet resolves",
        lambda pod: (added("c.env", {"name": "TOOL", "value": "aider"})(pod), spec("c.command", ["$(TOOL)", "--yes"])(pod))[0],
        lambda pod: (added("c.env", {"name": "TOOL", "value": "nginx"})(pod), spec("c.command", ["$(TOOL)"])(pod))[0],
    ),
    (
        "an init container",
        added("initContainers", {"name": "i", "image": "x", "command": ["aider"]}),
        added("initContainers", {"name": "i", "image": "x", "command": ["true"]}),
    ),
    (
        "a hook",
        spec("c.lifecycle", {"postStart": {"exec": {"command": ["aider", "--yes"]}}}),
        spec("c.lifecycle", {"postStart": {"exec": {"command": ["sleep", "1"]}}}),
    ),
    (
        "a probe",
        spec("c.livenessProbe", {"exec": {"command": ["sh", "-c", "aider --yes"]}}),
        spec("c.livenessProbe", {"exec": {"command": ["sh", "-c", "true"]}}),
    ),
]


def _named_by_the_server(pod: Object) -> Object:
    del pod["metadata"]["name"]
    pod["metadata"]["generateName"] = "web-"
    return pod


def _owned(pod: Object) -> Object:
    pod["metadata"]["ownerReferences"] = [{"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "name": "gone", "uid": "0"}]
    return pod


def _owned_by_another(pod: Object) -> Object:
    pod["metadata"]["ownerReferences"] = [{"apiVersion": "example.com/v1", "kind": "Workspace", "name": "w", "uid": "0"}]
    return pod


def disguised() -> list[Attempt]:
    out = [
        Attempt(f"an agent disguised by {name}", create(PODS, plain(bad, name="evasion")), ("run-as-non-root",), create(PODS, plain(good)))
        for name, bad, good in _DISGUISED
    ]
    run = spec("c.command", ["aider"])
    out.append(
        Attempt(
            "an agent under a generated name",
            create(PODS, _named_by_the_server(plain(run))),
            ("run-as-non-root",),
            create(PODS, _named_by_the_server(plain())),
        )
    )
    out.append(Attempt("an owner that is a workspace", create(PODS, _owned(plain())), ("run-as-non-root",), create(PODS, _owned_by_another(plain()))))
    return out


def _debugger(**fields: Any) -> Object:
    return {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox", **fields}]}}


def changed_while_running() -> list[Attempt]:
    """Ephemeral containers and resizes of pods that are there already."""
    out = []
    for pod in (AGENT, BY_HAND):
        for name, content_type in (("strategic", STRATEGIC), ("merge", MERGE)):
            body = _debugger(securityContext={"privileged": True})
            out.append(
                Attempt(
                    f"a privileged debugger in {pod} by a {name} patch",
                    patch(f"{PODS}/{pod}/ephemeralcontainers", body, content_type),
                    ("not-privileged", "ephemeralContainers[0]"),
                    patch(f"{PODS}/{NEIGHBOUR}/ephemeralcontainers", body, content_type),
                )
            )
    out.append(
        Attempt(
            "a bare debugger in an agent pod",
            patch(f"{PODS}/{BY_HAND}/ephemeralcontainers", _debugger(), STRATEGIC),
            ("no-privilege-escalation", "ephemeralContainers[0]"),
            patch(f"{PODS}/{NEIGHBOUR}/ephemeralcontainers", _debugger(), STRATEGIC),
        )
    )
    out.append(
        Attempt(
            "a debugger that makes anybody's pod an agent",
            patch(f"{PODS}/{NEIGHBOUR}/ephemeralcontainers", _debugger(command=["aider"]), STRATEGIC),
            ("run-as-non-root",),
            patch(f"{PODS}/{NEIGHBOUR}/ephemeralcontainers", _debugger(command=["sh"]), STRATEGIC),
        )
    )
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "paulgauthier/aider"}]
    other = [{"op": "replace", "path": "/spec/containers/0/image", "value": "nginx:1.30"}]
    out.append(
        Attempt(
            "anybody's pod made an agent by its image",
            patch(f"{PODS}/{NEIGHBOUR}", image, JSON_PATCH),
            ("run-as-non-root",),
            patch(f"{PODS}/{NEIGHBOUR}", other, JSON_PATCH),
        )
    )
    return out


def unknown_fields() -> list[tuple[str, Object, Object]]:
    """What no version of the API has, where a careless reader would take it for what it has: the field, a pod with it, and the same
    pod without."""
    scratch = {"sizeLimit": "1Mi"}
    volume = len(agent()["spec"]["volumes"])
    return [
        ("spec.hostnetwork", agent(spec("hostnetwork", True)), agent()),
        ("spec.evictionResponders", agent(spec("evictionResponders", [{"name": "x"}])), agent()),
        ("spec.securityContext.privileged", agent(spec("securityContext.privileged", True)), agent()),
        ("spec.containers[0].volumeMounts[0].bindMountOptions", agent(_with_mount_options), agent()),
        (
            f"spec.volumes[{volume}].emptyDir.execMode",
            agent(_volume({"emptyDir": {**scratch, "execMode": 511}})),
            agent(_volume({"emptyDir": scratch})),
        ),
    ]


def _with_mount_options(pod: Object) -> None:
    pod["spec"]["containers"][0]["volumeMounts"][0]["bindMountOptions"] = ["exec"]
