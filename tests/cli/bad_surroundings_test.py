#!/usr/bin/env python3
"""Every command of `palisade` where something around it is not as it should be: a cluster that nobody answers for, a wrong option, a terminal of 20 columns, a
pipe that nobody reads; and with whatever a kubeconfig may hold. The API server is real; before it stands one who takes his time.

    bad_surroundings_test.py PALISADE
"""

import contextlib
import fcntl
import http.server
import json
import os
import pathlib
import pty
import re
import select
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
TOOLS = pathlib.Path(os.environ.get("PALISADE_TOOLS_BIN", ROOT / "build/tools/bin"))

from control_plane import control_plane  # noqa: E402

PALISADE = ""
NAMESPACE = "team-a"
COLUMNS = 20
CREATE = ["create", "other", "-m", "Do it.", "--repo", "https://git.example.com/team/app.git"]
# How each command reads a cluster. A new command is missing here until it is thought of.
OF_A_CLUSTER: dict[str, list[str]] = {
    "create": CREATE, "list": ["list"], "pools": ["pools"], "status": ["status", "fix"], "attach": ["attach", "fix"], "logs": ["logs", "fix"],
    "diff": ["diff", "fix"], "approve": ["approve", "fix"], "suspend": ["suspend", "fix"], "resume": ["resume", "fix"], "delete": ["delete", "fix"],
    "check": ["check", "--live"], "scan": ["scan"], "doctor": ["doctor"], "audit": ["audit", "fix"], "report": ["report"], "ui": ["ui"],
    "permissions": ["permissions", "fix"],
}
BY_ITSELF = {"explain", "test", "controls", "render", "completion", "version"}
# What only reads, and ends by itself.
READS = ("list", "pools", "status", "check", "scan", "doctor", "report")


class Slow(http.server.BaseHTTPRequestHandler):
    """The real API server, whose first list takes longer than people wait without a word."""

    protocol_version = "HTTP/1.1"
    server_url = token = ""
    fresh = True

    def do_GET(self):  # noqa: N802
        if Slow.fresh and "limit=" in self.path:
            Slow.fresh = False
            time.sleep(2.2)
        request = urllib.request.Request(self.server_url + self.path, headers={"Authorization": f"Bearer {self.token}"})
        try:
            with urllib.request.urlopen(request, timeout=30, context=ssl._create_unverified_context()) as reply:
                self.write(reply.status, reply.headers["Content-Type"], reply.read())
        except urllib.error.HTTPError as error:
            self.write(error.code, error.headers["Content-Type"], error.read())

    def write(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def listening(handler: type):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def config(server: str, user: dict, ns: str = NAMESPACE, more: dict | None = None) -> dict:
    trust = {} if server.startswith("http:") else {"insecure-skip-tls-verify": True}
    return {"apiVersion": "v1", "kind": "Config", "current-context": "here", "clusters": [{"name": "k", "cluster": {"server": server, **trust}}],
            "users": [{"name": "u", "user": user}], "contexts": [{"name": "here", "context": {"cluster": "k", "user": "u", "namespace": ns}}], **(more or {})}


def screen(text: str) -> list[str]:
    """What a terminal of so few columns shows in the end, line by line as they were written, and how it came there."""
    rows: list[list[str]] = [[]]
    at = 0  # column
    for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", text):
        if piece == "\r":
            at = 0
        elif piece == "\n":
            rows.append([])
            at = 0
        elif piece == "\x1b[K":
            del rows[-1][at:]
        elif piece.startswith("\x1b"):
            assert piece.endswith("m"), f"{piece!r} moves the cursor"
        else:
            if at == COLUMNS:  # the terminal goes on in the next line, and nothing goes back from there
                rows.append([])
                at = 0
            rows[-1][at:at + 1] = [piece]
            at += 1
    return ["".join(row) for row in rows]


class Surroundings(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = contextlib.ExitStack()
        cls.addClassCleanup(cls.stack.close)
        cls.folder = pathlib.Path(cls.stack.enter_context(tempfile.TemporaryDirectory(prefix="palisade-around-")))
        try:
            cls.admin, cls.server, cls.token, _ = cls.stack.enter_context(control_plane(TOOLS, cls.folder))
        except SystemExit as error:  # unittest sees to Exceptions alone
            raise AssertionError(f"the control plane did not come up: {error}") from error
        cls.kubectl("apply", "-f", str(ROOT / "crds"))
        cls.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        cls.kubectl("create", "namespace", NAMESPACE)
        cls.kubectl("apply", "-f", "-", text=json.dumps({
            "apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "metadata": {"name": "fix", "namespace": NAMESPACE},
            "spec": {"repository": {"url": "https://git.example.com/team/app.git"}, "task": {"message": "Fix it."}}}))
        Slow.server_url, Slow.token = cls.server, cls.token
        cls.slow = cls.stack.enter_context(listening(Slow))
        cls.files = 0

    @classmethod
    def kubectl(cls, *words: str, text: str = "") -> str:
        done = subprocess.run([TOOLS / "kubectl", "--kubeconfig", cls.admin, *words], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, content: dict) -> str:
        Surroundings.files += 1
        path = self.folder / f"config-{self.files}.json"
        path.write_text(json.dumps(content))
        return str(path)

    def environment(self, kubeconfig: str) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": kubeconfig, "HOME": str(self.folder), "TMPDIR": str(self.folder), "TERM": "xterm"}

    def palisade(self, words: list[str], kubeconfig: str) -> subprocess.CompletedProcess:
        return subprocess.run([PALISADE, *words], env=self.environment(kubeconfig), stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=120, check=False)

    def on_terminal(self, words: list[str], kubeconfig: str) -> tuple[int, str]:
        """Exit status, and all that was written to the terminal."""
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        modes = termios.tcgetattr(inner)
        modes[1] &= ~termios.OPOST  # as it was written
        termios.tcsetattr(inner, termios.TCSANOW, modes)
        process = subprocess.Popen([PALISADE, *words], env=self.environment(kubeconfig), stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
        os.close(inner)
        shown, until = b"", time.monotonic() + 120
        try:
            while time.monotonic() < until:
                if not select.select([outer], [], [], 1)[0]:
                    continue
                try:
                    piece = os.read(outer, 65536)
                except OSError:  # nobody has it open any more
                    break
                shown += piece
            return process.wait(20), shown.decode()
        finally:
            process.kill()
            process.wait()
            os.close(outer)

    def one_line(self, text: str, command: str) -> None:
        self.assertEqual(len(text.splitlines()), 1, f"{command}: {text}")
        self.assertNotIn("internal error", text)

    def test_no_command_is_left_out(self):
        text = self.palisade(["--help"], "").stdout
        commands = set(re.findall(r"^  ([a-z]+) {2,}\S", text.split("Subcommands:", 1)[1].split("\nExamples:", 1)[0], flags=re.M))
        self.assertEqual(commands, set(OF_A_CLUSTER) | BY_ITSELF)

    def test_a_wrong_option_is_named(self):
        for command in (*OF_A_CLUSTER, *BY_ITSELF):
            done = self.palisade([command, "--no-such-thing"], "")
            self.assertEqual((done.returncode, done.stdout), (2, ""), command)
            self.assertIn("--help", done.stderr, command)
            self.assertLessEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_a_cluster_that_does_not_answer_is_one_line(self):
        nobody = self.write(config("https://127.0.0.1:1", {}))
        nowhere = str(self.folder / "none")
        for command, words in OF_A_CLUSTER.items():
            for kubeconfig, more, says in ((nobody, [], "is the cluster up, and is this the right --kubeconfig and --context?"), (nobody, ["--context", "there"], "--context"),
                                           (nobody, ["--kubeconfig", nowhere], nowhere)):
                if command == "attach":
                    code, told = self.on_terminal([*words, *more], kubeconfig)
                    out = ""
                else:
                    done = self.palisade([*words, *more], kubeconfig)
                    code, out, told = done.returncode, done.stdout, done.stderr
                with self.subTest(command=command, more=more):
                    self.assertEqual((code, out), (2, ""), told)
                    self.one_line(told, command)
                    self.assertIn(says, told)
        left = {path.name for path in self.folder.iterdir()} - {"config-1.json"}
        self.assertFalse([name for name in left if "palisade" in name], "something was left behind")

    def test_few_columns(self):
        slow = self.write(config(self.slow, {}))
        straight = self.write(config(self.server, {"token": self.token}))
        for command in READS:
            with self.subTest(command=command):
                Slow.fresh = True
                code, shown = self.on_terminal(OF_A_CLUSTER[command], slow)
                plain = self.palisade(OF_A_CLUSTER[command], straight)
                self.assertEqual(code, plain.returncode, shown)
                # That it takes its time is said, and taken away again before anything else is.
                self.assertIn(" objects read", shown)
                kept = screen(shown)
                self.assertNotIn("objects read", "".join(kept), shown)
                for line in shown.split("\x1b[K"):
                    if " objects read" in line[:COLUMNS]:
                        self.assertLess(len(line.split("\r")[0]), COLUMNS, shown)

    def test_a_pipe(self):
        straight = self.write(config(self.server, {"token": self.token}))
        for command in READS:
            with self.subTest(command=command):
                done = self.palisade(OF_A_CLUSTER[command], straight)
                self.assertIn(done.returncode, (0, 1, 2))
                self.assertNotIn("\x1b", done.stdout + done.stderr)
                self.assertNotIn("objects read", done.stderr)
                # Whoever read it has gone.
                reading, writing = os.pipe()
                os.close(reading)
                gone = subprocess.run([PALISADE, *OF_A_CLUSTER[command]], env=self.environment(straight), stdin=subprocess.DEVNULL, stdout=writing,
                                      stderr=subprocess.PIPE, text=True, timeout=120, check=False)
                os.close(writing)
                self.assertNotIn("internal error", gone.stderr)
                if done.stdout:
                    self.assertIn(gone.returncode, (-signal.SIGPIPE, 2), gone.stderr)
        for words in (["check", "-"], ["attach", "fix"]):
            done = self.palisade(words, straight)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.one_line(done.stderr, words[0])

    def test_kubeconfigs(self):
        asked = self.folder / "asked"
        plugin = self.folder / "plugin"
        answer = {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": self.token}}
        plugin.write_text(f"#!/bin/sh\necho asked >> {asked}\necho '{json.dumps(answer)}'\n")
        plugin.chmod(0o755)
        (self.folder / "token").write_text(self.token)
        execing = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "interactiveMode": "Never"}}
        clusters = self.write({"apiVersion": "v1", "kind": "Config", "clusters": config(self.server, {})["clusters"]})
        rest = config(self.server, execing)
        del rest["clusters"]
        split = f"{clusters}:{self.write(rest)}"
        other = config(self.server, {"token": "wrong"}, "default", {"current-context": "wrong"})
        other["contexts"].append({"name": "wrong", "context": {"cluster": "k", "user": "u"}})
        other["users"].append({"name": "good", "user": {"tokenFile": "token"}})
        other["contexts"].append({"name": "right", "context": {"cluster": "k", "user": "good", "namespace": NAMESPACE}})
        contexts = self.write(other)
        for command in READS:
            wanted = self.palisade(OF_A_CLUSTER[command], self.write(config(self.server, {"token": self.token})))
            with self.subTest(command=command, kubeconfig="two files, a plugin, a namespace"):
                asked.unlink(missing_ok=True)
                done = self.palisade(OF_A_CLUSTER[command], split)
                self.assertEqual((done.returncode, done.stderr), (wanted.returncode, wanted.stderr))
                self.assertTrue(asked.exists(), "the plugin was not asked")
            with self.subTest(command=command, kubeconfig="a context, a token's file"):
                done = self.palisade([*OF_A_CLUSTER[command], "--context", "right"], contexts)
                self.assertEqual((done.returncode, done.stderr), (wanted.returncode, wanted.stderr))
                refused = self.palisade(OF_A_CLUSTER[command], contexts)
                self.assertEqual(refused.returncode, 2)
                self.assertIn("log in again", refused.stderr)
        self.assertIn("fix", self.palisade(["list"], split).stdout)
        self.assertIn("in namespace default", self.palisade(["list", "-n", "default"], split).stderr)

    def test_as_a_plugin_of_kubectl(self):
        straight = self.write(config(self.server, {"token": self.token}))
        programs = self.folder / "bin"
        programs.mkdir()
        (programs / "kubectl-palisade").symlink_to(pathlib.Path(PALISADE).resolve())
        completing = programs / "kubectl_complete-palisade"  # as docs/cli.md has it
        completing.write_text(f'#!/bin/sh\nexec {pathlib.Path(PALISADE).resolve()} __complete "$@"\n')
        completing.chmod(0o755)
        environment = self.environment(straight)
        environment["PATH"] = f"{programs}:{environment['PATH']}"

        def kubectl(*words: str) -> str:
            done = subprocess.run([TOOLS / "kubectl", *words], env=environment, stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=120, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        self.assertEqual(kubectl("palisade", "list", "-o", "name"), "fix\n")
        self.assertEqual(kubectl("__complete", "palisade", "sus").splitlines()[0], "suspend")
        self.assertEqual(kubectl("__complete", "palisade", "status", "fi").splitlines()[0], "fix")


if __name__ == "__main__":
    PALISADE = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:], verbosity=2)
