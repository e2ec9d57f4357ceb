"""Fixtures of the stories: the world, and the official Kubernetes client."""

from __future__ import annotations

import pytest
from kubernetes import client, config

from e2e.harness.shell import KUBECONFIG
from e2e.harness.world import World


@pytest.fixture(scope="session")
def world() -> World:
    world = World()
    world.prepare()
    return world


@pytest.fixture(scope="session")
def core(world: World) -> client.CoreV1Api:
    config.load_kube_config(str(KUBECONFIG))
    return client.CoreV1Api()
