#!/usr/bin/env python3
"""The chart's life on a real API server, by the real Helm: installed, upgraded from an older version, rolled back, taken away; and without Helm.

No webhook runs here, and none is asked: what it does meanwhile is a story's to tell (e2e/stories/test_upgrade.py).
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]
TOOLS = pathlib.Path(os.environ.get("PALISADE_TOOLS_BIN", ROOT / "build/tools/bin"))

from control_plane import control_plane  # noqa: E402

from e2e.harness import older  # noqa: E402

SYSTEM = "palisade-system"
KINDS = {"agentpolicies", "agentworkspacepools", "agentworkspaces", "agentworkspacetemplates", "hardeningexceptions"}
BRING_UP = ("apply", "--server-side", "--force-conflicts", "-f", "charts/palisade/crds/")  # as docs/operations.md has it
# Whatever kind the chart has an object of.
ALL = ("namespaces,deployments,services,serviceaccounts,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets,clusterroles,clusterrolebindings,"
       "validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings")
GUARDS = "validatingwebhookconfigurations,mutatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings"


def workspace(name: str) -> dict:
    return {"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "metadata": {"name": name, "namespace": "team-a", "finalizers": ["palisade.dev/workspace"]},
            "spec": {"repository": {"url": "https://git.example.com/team/app.git"}, "task": {"message": "Fix it."}}}


class Life(unittest.TestCase):
    folder: pathlib.Path
    older: pathlib.Path
    current: pathlib.Path

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="palisade-upgrade-")))
        cls.older = older.packaged(TOOLS / "helm", older.older_chart(cls.folder), cls.folder / "older")
        cls.current = older.packaged(TOOLS / "helm", ROOT / "charts/palisade", cls.folder / "current")

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="palisade-upgrade-")))
        flag = "--disable-admission-plugins=ValidatingAdmissionWebhook,MutatingAdmissionWebhook"
        try:
            kubeconfig, *_ = stack.enter_context(control_plane(TOOLS, folder, flag))
        except SystemExit as error:  # unittest sees to Exceptions alone
            raise AssertionError(f"the control plane did not come up: {error}") from error
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(folder)}

    def run_in(self, words: list, text: str = "") -> subprocess.CompletedProcess:
        return subprocess.run(words, input=text, env=self.environment, cwd=ROOT, text=True, capture_output=True, timeout=120, check=False)

    def helm(self, *words: str) -> str:
        done = self.run_in([TOOLS / "helm", *words, "--namespace", SYSTEM])
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, *words: str) -> str:
        """What Helm says, without its own notes."""
        done = self.run_in([TOOLS / "helm", *words, "--namespace", SYSTEM])
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return "\n".join(line for line in done.stderr.splitlines() if not line.startswith("level="))

    def kubectl(self, *words: str, text: str = "") -> str:
        done = self.run_in([TOOLS / "kubectl", *words], text)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def apply(self, *objects: dict) -> None:
        self.kubectl("apply", "--server-side", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def get(self, *words: str) -> dict:
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def names(self, kinds: str) -> set[str]:
        """Of Palisade's objects. Nobody here ends a namespace that is deleted."""
        found = [one for one in self.get(kinds, "--all-namespaces")["items"] if "deletionTimestamp" not in one["metadata"]]
        return {f"{one['kind']}/{one['metadata']['name']}" for one in found if one["metadata"]["name"].startswith("palisade")}

    def definitions(self) -> set[str]:
        return {one["spec"]["names"]["plural"] for one in self.get("customresourcedefinitions")["items"] if one["spec"]["group"] == "palisade.dev"}

    def state(self) -> dict[str, str]:
        """Every object of the release by its version: another one where anybody wrote it."""
        return {f"{one['kind']}/{one['metadata'].get('namespace')}/{one['metadata']['name']}": one["metadata"]["resourceVersion"]
                for one in self.get(ALL, "--all-namespaces", "-l", "app.kubernetes.io/name=palisade")["items"]}

    def image(self) -> str:
        return self.get("deployment", "palisade-operator", "-n", SYSTEM)["spec"]["template"]["spec"]["containers"][0]["image"]

    def sessions(self) -> list[dict]:
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}}, workspace("live"), workspace("ended"))
        for name, phase in (("live", "Running"), ("ended", "Succeeded")):
            self.kubectl("patch", "aw", name, "-n", "team-a", "--subresource=status", "--type=merge", "-p", json.dumps({"status": {"phase": phase, "commits": 1}}))
        return self.get("aw", "-n", "team-a")["items"]

    def test_from_an_older_version_and_back_and_away(self):
        self.helm("install", "palisade", str(self.older), "--create-namespace", "--set", "operator.workers=7", "--set", "webhook.administrators.users={alice}")
        self.assertEqual(self.definitions(), KINDS - {older.LATER_KIND.split(".")[0]})
        self.assertTrue(self.image().endswith(f":{older.VERSION}"), self.image())
        before, there = self.sessions(), self.state()
        self.assertGreater(len(there), 30)

        # The new chart upon the old definitions: one line, and nothing half done.
        upgrade = ("upgrade", "palisade", str(self.current), "--reset-then-reuse-values")
        for command in (upgrade, (*upgrade, "--install")):
            told = self.refused(*command)
            self.assertEqual(len(told.splitlines()), 1, told)
            for part in ("older than this chart, so nothing was changed", "kubectl apply --server-side --force-conflicts -f crds/",
                         f"there is no {older.LATER_KIND}", "agentworkspaces.palisade.dev lacks v1alpha1:status.warmPod, v1alpha1:status.warmPod.",
                         "agentpolicies.palisade.dev lacks v1alpha1:spec.requireSignatures", "more"):
                self.assertIn(part, told)
        self.assertEqual(self.state(), there)
        self.assertEqual([one["status"] for one in json.loads(self.helm("history", "palisade", "-o", "json"))], ["deployed"])

        # The new definitions with the old chart: what it does goes on, and objects stay as they were.
        self.kubectl(*BRING_UP)
        self.assertEqual(self.definitions(), KINDS)
        self.assertEqual(self.get("aw", "-n", "team-a")["items"], before)
        self.assertEqual(self.state(), there)

        told = self.helm(*upgrade)
        self.assertIn("Helm leaves custom resource definitions as they were", told)
        self.assertFalse(self.image().endswith(f":{older.VERSION}"), self.image())
        arguments = self.get("deployment", "palisade-operator", "-n", SYSTEM)["spec"]["template"]["spec"]["containers"][0]["args"]
        self.assertIn("--workers=7", arguments)
        self.assertIn("--admin-user=alice", json.dumps(self.get("deployment", "palisade-webhook", "-n", SYSTEM)))
        self.assertEqual(self.get("aw", "-n", "team-a")["items"], before)

        self.helm("rollback", "palisade", "1")
        self.assertTrue(self.image().endswith(f":{older.VERSION}"), self.image())
        self.assertEqual(self.get("aw", "-n", "team-a")["items"], before)
        self.helm(*upgrade)

        self.helm("uninstall", "palisade")
        self.assertEqual(self.names(GUARDS), set())
        self.assertEqual(self.names(ALL), {f"Namespace/{SYSTEM}"})  # which `helm install --create-namespace` made, not the chart
        self.assertEqual(self.definitions(), KINDS)
        self.assertEqual(self.get("aw", "-n", "team-a")["items"], before)

    def test_what_is_installed_upon(self):
        # Of an install that is gone: Helm applies definitions, and stops where somebody else did.
        self.kubectl("apply", "--server-side", "-f", str(self.folder / "palisade-older/crds"))
        install = ("install", "palisade", str(self.current), "--create-namespace")
        told = self.refused(*install)
        self.assertEqual(len(told.splitlines()), 1, told)
        self.assertIn(".palisade.dev", told)
        told = self.refused(*install, "--skip-crds")
        self.assertEqual(len(told.splitlines()), 1, told)
        self.assertIn("agentworkspaces.palisade.dev lacks v1alpha1:status.warmPod", told)
        # A value that a definition does not let be.
        self.kubectl(*BRING_UP)

        def change(edit) -> None:
            name = "agentworkspaces.palisade.dev"
            definition = self.get("customresourcedefinition", name)
            definition["metadata"] = {"name": name}
            del definition["status"]
            edit(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"])
            self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(definition))

        change(lambda spec: spec["repository"]["properties"]["mount"]["enum"].remove("GitDirOnly"))
        told = self.refused(*install, "--skip-crds")
        self.assertTrue(told.endswith("agentworkspaces.palisade.dev lacks v1alpha1:spec.repository.mount=GitDirOnly"), told)
        self.assertEqual(self.names(GUARDS), set())
        # Who may not read definitions, or knows better.
        self.helm("template", "palisade", str(self.current), "--dry-run=server", "--set", "definitions.check=false")
        # Those of a later version know more.
        self.kubectl(*BRING_UP)
        change(lambda spec: spec.update(later={"type": "string", "enum": ["a"]}))
        told = self.helm(*install, "--skip-crds")
        for step in ("is installed in palisade-system", "kubectl create secret generic openai -n palisade-gateway", "kubectl create secret generic git-token -n TEAM",
                     "helm test palisade -n palisade-system --logs", "helm uninstall palisade -n palisade-system"):
            self.assertIn(step, told)
        self.assertNotIn("Helm leaves custom resource definitions", told)

    def test_without_helm(self):
        # As manifests/README.md has it.
        self.kubectl("apply", "--server-side", "-f", "crds/")
        self.kubectl("apply", "--server-side", "-k", "manifests/")
        there = self.state()
        named = {name.split("/")[0] + "/" + name.split("/")[2] for name in there}
        for one in ("Deployment/palisade-operator", "Deployment/palisade-webhook", "Deployment/palisade-gateway", "ValidatingWebhookConfiguration/palisade-webhook"):
            self.assertIn(one, named)
        # The same as Helm's, object by object.
        listed = self.run_in([TOOLS / "helm", "template", "palisade", str(self.current), "--namespace", SYSTEM, "--skip-tests"]).stdout
        self.assertEqual(len(re.findall("^kind: ", listed, flags=re.M)), len(there))
        self.kubectl("apply", "--server-side", "-k", "manifests/")
        self.assertEqual(self.state(), there)
        self.kubectl("delete", "-k", "manifests/", "--wait=false")
        self.assertEqual(self.names(GUARDS), set())
        self.assertEqual(self.definitions(), KINDS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
