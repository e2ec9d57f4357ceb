"""The real programs with something to tell: a real API server, operator, webhook and gateway, sessions that run and end, calls, and what is refused."""

import base64
import contextlib
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

from prometheus import ROOT, TOOLS

from control_plane import answers, child, control_plane, free_port, wait_until
from reviews import aider_pod, privileged, review

NAMESPACE = "team-a"
OBJECTS = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: palisade-system}}
- {apiVersion: v1, kind: Namespace, metadata: {name: palisade-gateway}}
- {apiVersion: v1, kind: Namespace, metadata: {name: team-a}}
- apiVersion: v1
  kind: Service
  metadata: {name: palisade-gateway, namespace: palisade-gateway}
  spec: {selector: {app: palisade-gateway}, ports: [{port: 8443, targetPort: 8443}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: kubernetes-test, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
  addressType: IPv4
  endpoints: [{addresses: [198.51.100.7]}]
  ports: [{port: 6443}]
- apiVersion: v1
  kind: Secret
  metadata: {name: git, namespace: team-a}
  stringData: {token: git-token-that-nobody-may-log}
- apiVersion: v1
  kind: Secret
  metadata: {name: openai, namespace: palisade-gateway}
  stringData: {api-key: sk-key-that-nobody-may-log}
"""
SECRETS = ("git-token-that-nobody-may-log", "sk-key-that-nobody-may-log", "collector-token-that-nobody-may-log")
TRACE = "0af7651916cd43dd8448eb211c80319c"  # of one that asks for a review
GUARD_END = {"guard": "palisade.dev/guard/v1", "ended": "exited", "message": "", "execs": 40, "deniedExecs": 18, "deniedConnects": 5, "refusals": 30,
             "findings": 2, "dropped": 0}


def workspace(name: str, **spec: dict) -> dict:
    return {"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"repository": {"url": "https://git.example.com/team-a/app.git", "credentials": {"secretRef": {"name": "git"}}},
                     "task": {"message": "Fix the login."}, **spec}}


class Model(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible upstream whose model `broken` always fails."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):  # noqa: N802
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        good = asked["model"] != "broken"
        body = json.dumps({"id": "c", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 1000, "completion_tokens": 2000, "total_tokens": 3000},
                           "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}
                          if good else {"error": {"message": "out of order"}}).encode()
        self.send_response(200 if good else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Collector(http.server.BaseHTTPRequestHandler):
    """An OpenTelemetry collector that keeps what it is told: (headers, body)."""

    protocol_version = "HTTP/1.1"
    told: list[tuple[dict[str, str], dict]]  # by the class made for each stage

    def do_POST(self):  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.told.append(({"path": self.path} | {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Stage:
    def __init__(self, programs: dict[str, str], directory: pathlib.Path, stack: contextlib.ExitStack):
        self.directory, self.stack = directory, stack
        self.kubeconfig, self.server, self.token, _ = stack.enter_context(control_plane(TOOLS, directory))
        self.kubectl("apply", "-f", str(ROOT / "crds"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        self.kubectl("apply", "-f", "-", text=OBJECTS)
        self.upstream = self.serve(Model)
        self.traces: list[tuple[dict[str, str], dict]] = []
        self.collector = self.serve(type("KeepingCollector", (Collector,), {"told": self.traces}))
        (directory / "otlp-headers").write_text(f"Authorization: Bearer {SECRETS[2]}\n")
        (directory / "policy.json").write_text(json.dumps({"allowedTokenAudiences": ["palisade-gateway"]}))
        (directory / "spool").mkdir()
        (directory / "gateway.json").write_text(json.dumps(self.gateway_config()))
        self.port = {"webhook": free_port(), "gateway": free_port()}
        self.metrics = {component: free_port() for component in programs}
        for component, arguments in self.arguments().items():
            self.start(component, [programs[component], *arguments])
        for component in programs:
            self.await_ready(component)

    def serve(self, handler: type[http.server.BaseHTTPRequestHandler]) -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.stack.callback(thread.join)
        self.stack.callback(server.shutdown)
        return server

    def gateway_config(self) -> dict:
        def model(name: str) -> dict:
            return {"name": name, "routes": [{"upstream": "openai", "model": name}], "price": {"inputPerMillion": "1.00", "outputPerMillion": "2.00"}}

        url = f"http://127.0.0.1:{self.upstream.server_address[1]}/v1"
        return {"llm": {"upstreams": [{"name": "openai", "url": url, "kind": "openai", "keySecret": {"name": "openai", "key": "api-key"}}],
                        "models": [model("gpt-4o"), model("broken")]},
                "git": {"spool": str(self.directory / "spool")}}

    def arguments(self) -> dict[str, list[str]]:
        traced = [f"--otlp-endpoint=http://127.0.0.1:{self.collector.server_address[1]}", f"--otlp-headers-file={self.directory / 'otlp-headers'}", "--trace-ratio=1"]
        return {
            "operator": [*traced, "--agent-image=registry.example.com/palisade/aider:1", "--courier-image=registry.example.com/palisade/control-plane:1",
                         "--llm-gateway=default=palisade", "--gateway-url=https://palisade-gateway.palisade-gateway.svc:8443",
                         f"--policy={self.directory / 'policy.json'}"],
            "webhook": [*traced, "--address=127.0.0.1", f"--port={self.port['webhook']}", "--namespace=palisade-system", "--extra-san=127.0.0.1",
                        f"--policy={self.directory / 'policy.json'}", "--drain-seconds=1"],
            "gateway": ["--address=127.0.0.1", f"--port={self.port['gateway']}", "--namespace=palisade-gateway", f"--config={self.directory / 'gateway.json'}",
                        "--certificate-overlap-seconds=1", "--drain-seconds=1"],
        }

    def log(self, component: str) -> pathlib.Path:
        return self.directory / f"{component}.log"

    def start(self, component: str, arguments: list[str]) -> None:
        port = self.metrics[component]
        more = [f"--kubeconfig={self.kubeconfig}", "--metrics-address=127.0.0.1", f"--metrics-port={port}", "--log-level=debug"]
        if component == "webhook":
            # The chart makes it; the webhook fills the caBundle in.
            self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
                                                              "metadata": {"name": "palisade-webhook"}, "webhooks": []}))
        # No leak check at its end: cpprestsdk's threads are stopped there with tasks of their own under way.
        setattr(self, component, self.stack.enter_context(child([*arguments, *more], self.log(component), ASAN_OPTIONS="detect_leaks=0")))

    def await_ready(self, component: str) -> None:
        ready = f"http://127.0.0.1:{self.metrics[component]}/readyz"
        wait_until(component, lambda: answers(ready), 60, getattr(self, component), self.log(component))

    def kubectl(self, *arguments: str, text: str = "") -> str:
        run = subprocess.run([TOOLS / "kubectl", "--kubeconfig", self.kubeconfig, *arguments], input=text, text=True, capture_output=True, check=False)
        if run.returncode:
            raise SystemExit(f"kubectl {' '.join(arguments)}: {run.stderr}")
        return run.stdout

    def post(self, url: str, body: bytes, token: str = "", **more: str) -> tuple[int, dict]:
        headers = {"Content-Type": "application/json"} | more | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20, context=ssl._create_unverified_context()) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def api(self, path: str, body: dict) -> dict:
        code, answer = self.post(self.server + path, json.dumps(body).encode(), self.token)
        if code not in (200, 201):
            raise SystemExit(f"{path}: {code} {answer}")
        return answer

    def until(self, what: str, holds, seconds: float = 40):
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            if time.monotonic() > deadline:
                raise SystemExit(f"waited in vain: {what}\n{self.log('operator').read_text()[-3000:]}")
            time.sleep(0.1)
        return found

    def workspace(self, name: str) -> dict:
        return json.loads(self.kubectl("get", "agentworkspace", "-n", NAMESPACE, name, "-o", "json"))

    def set_pod(self, name: str, status: dict) -> None:
        self.kubectl("patch", "pod", "-n", NAMESPACE, f"{name}-agent", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def run_session(self, name: str) -> None:
        """As a kubelet would."""
        self.kubectl("apply", "-f", "-", text=json.dumps(workspace(name, llm={"models": ["broken"]})))

        def started() -> bool:
            found = self.kubectl("get", "pod", "-n", NAMESPACE, f"{name}-agent", "--ignore-not-found", "-o", "json")
            return bool(found) and not json.loads(found)["spec"].get("schedulingGates")

        self.until(f"the pod of {name}", started)
        running = {"name": "aider", "image": "i", "imageID": "i", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T10:00:05Z"}}}
        self.set_pod(name, {"phase": "Running", "startTime": "2026-01-01T10:00:00Z", "containerStatuses": [running]})
        self.until(f"{name} runs", lambda: self.workspace(name).get("status", {}).get("phase") == "Running")

    def end_session(self, name: str, guard: dict) -> None:
        def ended(container: str, message: str) -> dict:
            return {"name": container, "image": "i", "imageID": "i", "ready": False, "restartCount": 0,
                    "state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": message}}}

        report = json.dumps({"commits": 1, "head": "a" * 40, "pushed": True})
        self.set_pod(name, {"phase": "Succeeded", "initContainerStatuses": [ended("courier", report)],
                            "containerStatuses": [ended("aider", json.dumps(guard))]})
        self.until(f"{name} has ended", lambda: "audit" in self.workspace(name).get("status", {}))

    def session_token(self, name: str) -> str:
        pod = json.loads(self.kubectl("get", "pod", "-n", NAMESPACE, f"{name}-agent", "-o", "json"))
        account = pod["spec"]["serviceAccountName"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        made = self.api(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}/token",
                        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                         "spec": {"audiences": ["palisade-gateway"], "expirationSeconds": 600, "boundObjectRef": bound}})
        return made["status"]["token"]

    def ask_model(self, token: str, model: str) -> int:
        body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
        return self.post(f"https://127.0.0.1:{self.port['gateway']}/v1/chat/completions", json.dumps(body).encode(), token)[0]

    def ask_review(self, pod: dict) -> bool:
        return self.post(f"https://127.0.0.1:{self.port['webhook']}/validate", review(pod), traceparent=f"00-{TRACE}-b7ad6b7169203331-01")[1]["response"]["allowed"]

    def weak_pod(self) -> None:
        """One that is there already: the webhook is not registered here."""
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "weak", "namespace": NAMESPACE, "labels": {"palisade.dev/agent": "aider"}},
               "spec": {"containers": [{"name": "aider", "image": "registry.example.com/palisade/aider:1"}]}}
        self.kubectl("apply", "-f", "-", text=json.dumps(pod))
        self.kubectl("patch", "pod", "-n", NAMESPACE, "weak", "--subresource=status", "--type=merge", "-p", '{"status": {"phase": "Running"}}')

    def spans(self, service: str) -> list[dict]:
        """What the collector was told by one program."""
        found = []
        for _, body in list(self.traces):
            for part in body["resourceSpans"]:
                if attributes(part["resource"]).get("service.name") == service:
                    found += [span for scope in part["scopeSpans"] for span in scope["spans"]]
        return found

    def page(self, component: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics[component]}/metrics", timeout=20) as reply:
            return reply.read().decode()

    def play(self) -> list[str]:
        """Something of everything, a part of it twice: a rate needs two. The tokens that were used."""
        self.weak_pod()
        good = aider_pod("00000000-0000-0000-0000-000000000000")
        tokens = []
        for name in ("fix-login", "fix-logout"):
            self.run_session(name)
            token = self.session_token(name)
            tokens.append(token)
            self.until("the gateway knows the session", lambda: self.ask_model(token, "gpt-4o") == 200)  # noqa: B023
            codes = [self.ask_model(*asked) for asked in ((token, "broken"), (token, "gpt-9"), ("no-token", "gpt-4o"))]
            if codes != [500, 404, 401]:
                raise SystemExit(f"the gateway answered {codes}:\n{self.log('gateway').read_text()[-3000:]}")
            if self.ask_review(privileged(good)):
                raise SystemExit("the webhook lets a privileged pod pass")
        self.end_session("fix-login", GUARD_END)
        return tokens


def attributes(of: dict) -> dict[str, str | bool]:
    """Of a resource or a span; integers as the texts that they are in protobuf's JSON."""
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", [])}


def decoded(secret: str) -> tuple[str, str]:
    return secret, base64.b64encode(secret.encode()).decode()
