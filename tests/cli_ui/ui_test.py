#!/usr/bin/env python3
"""`palisade ui` against a real API server that holds hostile objects, asked directly and through a real Chromium.

    ui_test.py PALISADE RECORD                      tests
    ui_test.py PALISADE RECORD --screenshots DIR    writes pictures of a friendly cluster for the documents
"""

import contextlib
import html
import html.parser
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
TOOLS = pathlib.Path(os.environ.get("PALISADE_TOOLS_BIN", ROOT / "build/tools/bin"))

from control_plane import control_plane  # noqa: E402

PALISADE = RECORD = ""
NAMESPACE = "team-a"


def hostile(canary: str) -> str:
    """Everything that a page could mistake for its own."""
    return (f'<img src="{canary}/img" onerror="document.title=\'pwned\'"><script>document.title="pwned"</script><b id=bold>bold</b>'
            f'</td></table><style>*{{display:none}}</style><iframe src="{canary}/frame"></iframe><a id=link href="javascript:document.title=\'pwned\'">x</a>'
            f'{{{{constructor}}}} ${{document.title="pwned"}} \u202egnp.exe "\'&lt;')


class Canary(http.server.BaseHTTPRequestHandler):
    """Where a page that fell for it would call."""

    hits: list[str] = []

    def do_GET(self):  # noqa: N802
        self.hits.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Front(http.server.BaseHTTPRequestHandler):
    """The real API server, and the logs of pods, which no kubelet keeps here."""

    protocol_version = "HTTP/1.1"
    server_url = token = ""
    record = b""
    asked: list[tuple[str, str]] = []

    def answer(self):
        self.asked.append((self.command, self.path))
        if self.path.split("?")[0].endswith("/log"):
            return self.write(200, "text/plain", self.record)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = urllib.request.Request(self.server_url + self.path, data=body or None, method=self.command,
                                         headers={"Authorization": f"Bearer {self.token}", "Content-Type": self.headers.get("Content-Type", "application/json")})
        try:
            with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as reply:
                return self.write(reply.status, reply.headers["Content-Type"], reply.read())
        except urllib.error.HTTPError as error:
            return self.write(error.code, error.headers["Content-Type"], error.read())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def write(self, code: int, kind: str, body: bytes):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def listening(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(folder: pathlib.Path, name: str, server: str, user: dict) -> pathlib.Path:
    out = folder / name
    out.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **({} if server.startswith("http:") else {"insecure-skip-tls-verify": True})}}],
        "users": [{"name": "u", "user": user}]}))
    return out


@contextlib.contextmanager
def ui(config: pathlib.Path, *flags: str):
    process = subprocess.Popen([PALISADE, "ui", "--kubeconfig", config, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def browse(folder: pathlib.Path, url: str, *flags: str) -> subprocess.CompletedProcess:
    """A Chromium that has time for one look at the page, and reaches nothing but loopback."""
    profile = tempfile.mkdtemp(dir=folder)
    return subprocess.run(
        [shutil.which("chromium") or "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--enable-logging=stderr",
         f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--window-size=1280,900", *flags, url],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "HOME": profile})


class Elements(html.parser.HTMLParser):
    """What of a page is not the page's own: its tags and where they lead."""

    OWN = {"html", "head", "meta", "title", "link", "body", "header", "h1", "h2", "nav", "a", "p", "main", "noscript", "div", "b", "span", "table", "thead", "tbody", "tr", "th",
           "td"}

    def __init__(self):
        super().__init__()
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        have = dict(attrs)
        own = (tag == "script" and have == {"src": "app.js", "defer": ""}) or (tag == "link" and have == {"rel": "stylesheet", "href": "style.css"}) or (
            tag in self.OWN and tag != "link" and not any(name.startswith("on") or name in ("src", "style") for name in have)
            and have.get("href", "#").startswith("#") and have.get("id", "main") in ("main", "state"))
        if not own:
            self.foreign.append(f"{tag} {have}")


def foreign(page: str) -> list[str]:
    parser = Elements()
    parser.feed(page)
    return parser.foreign


class Cluster:
    """A workspace with these texts wherever one is free, and a weak pod."""

    def __init__(self, folder: pathlib.Path, stack: contextlib.ExitStack, words: dict[str, str], name: str):
        self.folder, self.name = folder, name
        admin, self.server, token, _ = stack.enter_context(control_plane(TOOLS, folder))
        self.admin = admin
        self.kubectl("apply", "-f", str(ROOT / "crds"))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        self.kubectl("create", "namespace", NAMESPACE)
        self.workspace(name, words)
        self.event(words["note"])
        self.weak_pod(words["argument"])
        Front.server_url, Front.token = self.server, token
        self.front = stack.enter_context(listening(Front))
        self.config = kubeconfig(folder, "front.json", self.front, {})
        self.nobody = kubeconfig(folder, "nobody.json", self.server, {})

    def kubectl(self, *arguments: str, text: str = "") -> str:
        run = subprocess.run([TOOLS / "kubectl", "--kubeconfig", self.admin, *arguments], input=text, text=True, capture_output=True, check=False)
        if run.returncode:
            raise SystemExit(f"kubectl {' '.join(arguments)}: {run.stderr}")
        return run.stdout

    def apply(self, *objects: dict) -> None:
        self.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def workspace(self, name: str, words: dict[str, str], phase: str = "Succeeded") -> None:
        self.apply({"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "metadata": {"name": name, "namespace": NAMESPACE},
                    "spec": {"repository": {"url": "https://git.example.com/team-a/app.git"}, "task": {"message": words["task"]}}})
        now = "2026-09-21T12:00:00Z"
        condition = {"lastTransitionTime": now, "observedGeneration": 1}
        self.kubectl("patch", "agentworkspace", "-n", NAMESPACE, name, "--subresource=status", "--type=merge", "-p", json.dumps({"status": {
            "phase": phase, "branch": words["branch"][:200], "podName": f"{name}-agent", "startedAt": now, "finishedAt": "2026-09-21T12:30:00Z", "commits": 2,
            "head": words["head"][:200],
            "audit": {"execs": 3, "refusals": 2, "findings": 1}, "llm": {"requests": 12, "failures": 1},
            "conditions": [{"type": "Ready", "status": "False", "reason": "Succeeded", "message": words["ready"], **condition},
                           {"type": "Isolated", "status": "True", "reason": "Held", "message": words["isolated"], **condition}]}}))

    def event(self, text: str) -> None:
        uid = self.kubectl("get", "agentworkspace", "-n", NAMESPACE, self.name, "-o", "jsonpath={.metadata.uid}")
        self.apply({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "told", "namespace": NAMESPACE}, "type": "Warning", "reason": "Refused",
                    "action": "Reconcile", "note": text[:1000], "eventTime": "2026-09-21T12:10:00.000000Z", "reportingController": "palisade.dev/operator",
                    "reportingInstance": "o", "regarding": {"kind": "AgentWorkspace", "name": self.name, "namespace": NAMESPACE, "uid": uid}})

    def weak_pod(self, text: str) -> None:
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "weak", "namespace": NAMESPACE, "labels": {"palisade.dev/agent": "aider"}},
                    "spec": {"containers": [{"name": "aider", "image": "registry.example.com/aider:1", "command": ["aider", text],
                                             "env": [{"name": "X", "value": text}]}]}})


def record(*texts: str) -> bytes:
    """As guard itself writes it."""
    return subprocess.run([RECORD, *texts], capture_output=True, check=True).stdout


TEXTS = ("task", "branch", "head", "ready", "isolated", "note", "argument")


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palisade-ui-")))
        cls.canary = stack.enter_context(listening(Canary))
        cls.text = hostile(cls.canary)
        Front.record = record(cls.text)
        cls.cluster = Cluster(cls.folder, stack, dict.fromkeys(TEXTS, cls.text), "fix-login")
        cls.process, cls.url = stack.enter_context(ui(cls.cluster.config))
        cls.place = urllib.parse.urlsplit(cls.url)

    def get(self, path: str, host: str | None = None, method: str = "GET") -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.place.port, timeout=30)
        try:
            connection.request(method, path, headers={"Host": host or self.place.netloc})
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def look(self, part: str) -> str:
        done = browse(self.folder, self.url + part, "--dump-dom")
        self.assertEqual(done.returncode, 0, done.stderr)
        for bad in ("Refused to", "Uncaught", "violates the following Content Security Policy"):
            self.assertNotIn(bad, done.stderr)
        self.assertIn("<title>Palisade</title>", done.stdout)
        # Shown, and as text alone.
        self.assertIn("data-shown=", done.stdout)
        self.assertEqual(foreign(done.stdout), [])
        self.assertEqual(Canary.hits, [])
        return done.stdout

    def test_markup_of_others_would_be_seen(self):
        self.assertGreater(len(foreign(f"<td>{self.text}</td>")), 5)
        self.assertEqual(foreign(f"<td>{html.escape(self.text)}</td>"), [])

    def test_only_who_has_the_address_is_answered(self):
        path = self.place.path
        self.assertRegex(self.url, r"^http://127\.0\.0\.1:\d+/[0-9a-f]{48}/$")
        self.assertEqual(self.get(path)[0], 200)
        self.assertEqual(self.get(path, host=f"localhost:{self.place.port}")[0], 200)
        for host in ("evil.example.com", f"evil.example.com:{self.place.port}", "127.0.0.1", f"127.0.0.1.evil.example.com:{self.place.port}", "127.0.0.1:1", "::1"):
            self.assertEqual(self.get(path, host=host)[0], 421, host)
        wrong = path[:-2] + ("0" if path[-2] != "0" else "1") + "/"
        for other in ("/", "/app.js", "/api/workspaces", wrong, wrong + "api/workspaces", path[:-1], "//" + path[1:], path.upper().replace("/", "//"), "/../" + path):
            code, _, body = self.get(other)
            self.assertEqual(code, 404, other)
            self.assertNotIn(b"fix-login", body)

    def test_nothing_can_be_written(self):
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            self.assertEqual(self.get(self.place.path + "api/workspaces", method=method)[0], 405, method)
        for part in ("api/workspaces", "api/findings", f"api/session?namespace={NAMESPACE}&name=fix-login"):
            self.assertEqual(self.get(self.place.path + part)[0], 200, part)
        self.assertGreater(len(Front.asked), 3)
        self.assertEqual({method for method, _ in Front.asked}, {"GET"})

    def test_every_answer_forbids_what_the_page_does_not_need(self):
        for part, code in (("", 200), ("app.js", 200), ("style.css", 200), ("api/workspaces", 200), ("api/none", 404), ("none", 404), ("api/session", 400)):
            status, headers, _ = self.get(self.place.path + part)
            self.assertEqual(status, code, part)
            policy = headers["Content-Security-Policy"]
            for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
                self.assertIn(rule, policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual((headers["X-Content-Type-Options"], headers["Referrer-Policy"], headers["Cache-Control"]), ("nosniff", "no-referrer", "no-store"))
        script = (ROOT / "cli/ui/app.js").read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style="):
            self.assertNotIn(way, script)

    def test_names_stay_names(self):
        for query in ("namespace=..&name=x", "namespace=team-a&name=..%2F..%2Fsecrets", "namespace=team-a&name=a%2Fb", "namespace=&name=x", "namespace=team-a",
                      "namespace=team-a&name=%zz", "namespace=team-a&name=X"):
            self.assertEqual(self.get(f"{self.place.path}api/session?{query}")[0], 400, query)
        code, _, body = self.get(f"{self.place.path}api/session?namespace={NAMESPACE}&name=nobody")
        self.assertEqual(code, 502)
        self.assertIn("nobody", json.loads(body)["error"])

    def test_sessions_are_shown_as_text(self):
        shown = self.look("")
        self.assertIn("team-a/fix-login", shown)
        self.assertIn('href="#session/team-a/fix-login"', shown)
        self.assertIn("Succeeded", shown)
        self.assertIn("&lt;img src=", shown)

    def test_a_session_is_shown_as_text(self):
        shown = self.look(f"#session/{NAMESPACE}/fix-login")
        for words in ("What happened", "2 commits pushed to", "12 requests", "1 failed", "Refused: &lt;img", "Isolated=True Held", "program", "/usr/bin/git", "refused"):
            self.assertIn(words, shown)
        # What would turn a line round is not even shown.
        self.assertNotIn("\u202e", shown)

    def test_findings_are_shown_as_text(self):
        shown = self.look("#findings")
        for words in ("Pod team-a/weak", "run-as-non-root", "would be rejected", "Controls"):
            self.assertIn(words, shown)

    def test_a_strange_place_in_the_page_is_no_way_in(self):
        for part in ("#session/%zz/x", f"#{urllib.parse.quote(self.text)}", "#session/../../x"):
            done = browse(self.folder, self.url + part, "--dump-dom")
            self.assertIn("<title>Palisade</title>", done.stdout)
            self.assertEqual(foreign(done.stdout), [])
        self.assertEqual(Canary.hits, [])

    def test_without_rights_it_says_so(self):
        with ui(self.cluster.nobody) as (_, url):
            done = browse(self.folder, url, "--dump-dom")
        self.assertIn('class="error"', done.stdout)
        self.assertIn("kubectl auth can-i list agentworkspaces", done.stdout)

    def test_it_ends_when_told_and_takes_no_port_twice(self):
        with ui(self.cluster.config, "--port", str(self.place.port)) as (process, line):
            self.assertEqual(line, "")
            self.assertEqual(process.wait(20), 2)
            self.assertIn("--port names another", process.stderr.read())
        with ui(self.cluster.config) as (process, _):
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(20), 0)


def screenshots(target: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palisade-ui-")))
        Front.record = record("Make the login form accept spaces", "Accept spaces in user names", "tests/test_login.py", "tools/migrate.py", "https://198.51.100.7/upload",
                              "git config --global")
        words = dict(zip(TEXTS, ("Make the login form accept spaces", "palisade/fix-login", "4be1f9c02d7785e1b0c3a6a9d2f4517e88c3d1aa",
                                 "Aider has ended; 2 commit(s) pushed to palisade/fix-login", "the deny-all NetworkPolicy was read back before the pod could start",
                                 "guard refused 1 attempts: 1 programs, 0 connections; 1 findings", "--yes"), strict=True))
        cluster = Cluster(folder, stack, words, "fix-login")
        for name, phase in (("bump-openssl", "Running"), ("flaky-test", "Failed")):
            cluster.workspace(name, words | {"branch": f"palisade/{name}"}, phase)
        _, url = stack.enter_context(ui(cluster.config))
        for name, part in (("ui-sessions", ""), ("ui-session", f"#session/{NAMESPACE}/fix-login"), ("ui-findings", "#findings")):
            done = browse(folder, url + part, f"--screenshot={target / (name + '.png')}")
            assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    PALISADE, RECORD = sys.argv[1:3]
    if sys.argv[3:4] == ["--screenshots"]:
        screenshots(pathlib.Path(sys.argv[4]).resolve())
    else:
        unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
