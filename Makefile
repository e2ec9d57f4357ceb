# Palisade's commands. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
JOBS ?= $(shell nproc)
KUBECONFIG_FILE := build/cluster/kubeconfig

.PHONY: help packages tools build lint format unit integration chaos fuzz simulation docs images cluster cluster-down demo e2e test bench clean

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

packages: ## Install the Debian packages that are missing (root)
	@scripts/packages packages.txt e2e/packages.txt

tools: packages ## Build etcd, Kubernetes, containerd, Helm, Gitea and versitygw from their Go modules into build/tools/bin
	@e2e/tools/build

build: packages ## Build what ships (build/release/bin)
	@cmake --preset release >/dev/null && cmake --build --preset release -j $(JOBS)

lint: packages ## clang-format, clang-tidy, folder rules, shell and Python syntax
	@scripts/lint

format: ## Format the C++ sources in place
	@git ls-files -co --exclude-standard '*.h' '*.cpp' | xargs clang-format -i

unit: packages ## Unit tests under AddressSanitizer and UBSan
	@cmake --preset asan >/dev/null && cmake --build --preset asan -j $(JOBS) && ctest --preset asan -j $(JOBS) -L unit

integration: packages ## Tests against a real etcd, kube-apiserver and S3 server, under the sanitizers
	@e2e/tools/build etcd kube-apiserver kubectl helm versitygw podsecurity-testdata definitions
	@cmake --preset asan >/dev/null && cmake --build --preset asan -j $(JOBS) && ctest --preset asan -j $(JOBS) -L integration

chaos: KILLS ?= 200
chaos: packages ## The operator and its pools killed at KILLS=200 chosen writes each, on a real etcd and kube-apiserver
	@e2e/tools/build etcd kube-apiserver kubectl
	@cmake --preset asan >/dev/null && cmake --build --preset asan -j $(JOBS) --target operator_chaos_test
	@PALISADE_TEST_KILLS=$(KILLS) PALISADE_TOOLS_BIN=$(CURDIR)/build/tools/bin PALISADE_SOURCE_DIR=$(CURDIR) build/asan/bin/operator_chaos_test

fuzz: SECONDS ?= 60
fuzz: packages ## Fuzz every reader of hostile bytes, SECONDS=60 each (SECONDS=3600: an hour)
	@scripts/fuzz --seconds $(SECONDS)

simulation: packages ## The operator in 10,000 random interleavings, against a model API server
	@scripts/simulation

docs: packages ## Build the documentation as a site that needs no network (build/docs-site/index.html)
	@scripts/docs-site

images: build ## Build the control plane and agent images (build/images)
	@scripts/images

cluster: tools ## Start the local one-node cluster (idempotent)
	@e2e/cluster/cluster up

cluster-down: ## Stop the local cluster and remove everything it made
	@e2e/cluster/cluster down

demo: ## Everything from nothing: cluster, install, an agent that edits, commits and pushes, a weak pod refused
	@scripts/demo

e2e: cluster images ## The end-to-end stories on the local cluster
	@scripts/e2e

test: ## All set-up and every test: unit, integration, end to end
	@scripts/test

bench: tools build ## Benchmarks, as ratios taken side by side (prints tables)
	@bench/admission

clean: cluster-down ## Remove build/ but the downloaded and built tools
	@find build -mindepth 1 -maxdepth 1 ! -name tools ! -name images -exec rm -rf {} +
