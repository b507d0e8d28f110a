# `make help` lists the targets; CONTRIBUTING.md says when to run which.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := quick

# Everything is built in one way, so that builds, tests and the linter share the Go tool's cache: static and reproducible.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(shell go env GOFLAGS 2>/dev/null) -trimpath)
export GOWORK := off
# What the tests and the lab use is unpacked and built into .cache; nothing is installed on the machine.
# Go's usual folders come last: sudo takes them out of PATH.
export PATH := $(CURDIR)/.cache/bin:$(PATH):/usr/local/go/bin:/usr/lib/go/bin
export BERTH_AWS_CLI := $(CURDIR)/.cache/bin/aws
ROOT := $(if $(filter 0,$(shell id -u)),1)

# Packages whose tests are about the kernel, and tests of the lab that bring up a cluster.
KERNEL := ./internal/linux/... ./internal/bpf/... ./internal/vpcsim/fabric/... ./internal/testkit/... ./test/blackbox/...
CLUSTER := ^TestCluster
LINT := go tool -modfile=$(CURDIR)/go.tools.mod golangci-lint
FUZZTIME ?= 30s

include $(wildcard lab/*.mk)

.PHONY: quick build tools test test-root e2e smoke lint fmt generate verify demo demo-throttle lab bench sim sim-seeds mutants stories nightly fuzz docs image clean help

quick: build ## build, and run the tests that need no root: a minute or two
	go test $$(go list ./... | grep -vE '/(internal/(linux|bpf|vpcsim/fabric|testkit)|test)(/|$$)')

build: ## build the programs into bin/
	go build -buildvcs=auto -o bin/ ./cmd/...
	cd lab && go build -buildvcs=auto -o ../bin/ ./cmd/berth-lab

tools: .cache/bin/nft .cache/bin/helm ## unpack and build what the tests use into .cache

.cache/bin/nft: lab/internal/deb/deb.go lab/internal/deb/wrap.go
	cd lab && go run ./cmd/lab-prepare -packages

test: export BERTH_REQUIRE_ROOT := $(ROOT)
test: build tools ## run every test but the cluster's; as root those of the kernel, too
	@[ "$(ROOT)" ] || echo "not root: the tests of the kernel are skipped (make test as root runs them)"
	go test -timeout 20m ./...
	cd lab && go test -timeout 20m -skip '$(CLUSTER)' ./...

test-root: export BERTH_REQUIRE_ROOT := 1
test-root: tools ## run the tests of the kernel: links, rules, nftables, the fabric, the agent as a black box
	go test -count=1 $(KERNEL)

e2e: export BERTH_REQUIRE_ROOT := 1
e2e: lab smoke ## run the tests that bring up clusters (root)
	cd lab && go test -p 1 -count=1 -timeout 90m -run '$(CLUSTER)' ./...

smoke: lab ## bring up two nodes, run pods on both, take it all down again (root)
	hack/smoke

lint: ## run the linters
	$(LINT) run ./...
	cd lab && $(LINT) run ./...

fmt: ## format the Go files
	$(LINT) fmt ./...
	cd lab && $(LINT) fmt ./...

.cache/bin/clang-19: lab/internal/deb/deb.go lab/internal/deb/wrap.go
	cd lab && go run ./cmd/lab-prepare -compiler

generate: .cache/bin/clang-19 ## write generated files anew
	go generate ./...
	cd lab && go generate ./...

verify: generate ## what must hold before a change goes in: generated files are fresh, modules tidy, formats, linters
	go mod tidy -diff && cd lab && go mod tidy -diff
	$(LINT) fmt --diff ./... && cd lab && $(LINT) fmt --diff ./...
	@$(MAKE) --no-print-directory lint
	git diff --exit-code

demo: lab ## play the walkthrough: a subnet runs out of addresses, and more are found (root)
	bin/berth-lab demo

demo-throttle: lab ## restart the agents while EC2 is throttled: no address is given twice (root)
	bin/berth-lab demo-throttle

lab: lab-programs build ## build everything that `berth lab` runs

bench: build tools ## print the benchmarks beside the existing CNI's figures, and write out/bench.json (root)
	@mkdir -p out
	go test ./test/bench -count=1 -v -timeout 30m -bench.out $(CURDIR)/out/bench.json

sim: ## simulate whole fleets beside the existing CNI's rules, print the tables, write out/sim.json: SEED=1 ONLY=start
	@mkdir -p out
	go test ./test/sim -count=1 -v -timeout 3h -sim.out $(CURDIR)/out/sim.json -sim.seed $(or $(SEED),1) -sim.only "$(ONLY)"

sim-seeds: ## simulate many nodes' lives under virtual time: FIRST=1 SEEDS=1000 EVENTS=2000
	go test ./internal/node -count=1 -v -timeout 8h -run 'TestSimulation$$' -sim.first $(or $(FIRST),1) -sim.seeds $(or $(SEEDS),1000) -sim.events $(or $(EVENTS),2000)

mutants: ## take away each safety rule in turn: the simulation must notice
	go test ./test/mutants -count=1 -v -timeout 2h -mutants.run

stories: export BERTH_REQUIRE_ROOT := 1
stories: build tools ## network policy under a minute of changes, for thousands of pods that dial at once, and on 100,000 clusters (root)
	go test ./test/blackbox -count=1 -v -timeout 1h -run 'TestScripts/network-policy-(under-changes|from-the-first-packet)' -long
	go test ./internal/bpf -count=1 -v -timeout 1h -run TestReferenceTablesAndProgramAgree -agree.clusters 100000

nightly: test e2e bench ## long simulations, the race detector, fuzzing, clusters: hours
	CGO_ENABLED=1 go test -race -timeout 30m $$(go list ./internal/... ./cmd/... | grep -v /internal/node$$)
	CGO_ENABLED=1 go test -race -timeout 30m ./internal/node -sim.seeds 40 # one goroutine a seed: more seeds find no race
	@# other seeds every night: what has passed once passes again
	@$(MAKE) --no-print-directory stories sim sim-seeds FIRST=$$(date +%Y%m%d)0000 SEEDS=10000 EVENTS=5000
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1m

fuzz: ## fuzz each parser for FUZZTIME (30s)
	hack/fuzz $(FUZZTIME)

docs: generate ## write the generated references anew and check the texts
	go test -count=1 -run 'TestDocs' .

image: lab ## write the image of the agent to out/aws-node.tar, without a registry
	cd lab && go run ./cmd/lab-image -o ../out/aws-node.tar

clean: ## remove what was built; .cache, which took minutes to fill, stays
	rm -rf bin out

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "%-14s %s\n", $$1, $$2 }'
