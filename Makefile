# Inlay. `make` lists the targets; V=1 shows the commands.

GO         ?= go
V          ?= 0
Q          := $(if $(filter 1,$(V)),,@)
FUZZTIME   ?= 10m
SHELL      := /bin/bash -o pipefail
MAKEFLAGS  += --no-print-directory

# What is downloaded and built for the tests is kept here, outside of the tree.
export INLAY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/inlay

# The version is stamped below; asking git while building fails in a tree that another user owns.
export GOFLAGS ?= -buildvcs=false

PKG        := github.com/inlay-project/inlay
VERSION    ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),devel)
COMMIT     ?= $(shell git rev-parse --verify --quiet HEAD)
# grpcnotrace leaves gRPC's /debug/requests out, which nobody serves, and html/template with it: a fifth of a daemon.
TAGS       := grpcnotrace
LDFLAGS    := -s -w -X $(PKG)/internal/buildinfo.version=$(VERSION) -X $(PKG)/internal/buildinfo.commit=$(COMMIT)

LINT_VERSION := v2.15.0
LINT         := $(INLAY_CACHE)/bin/golangci-lint-$(LINT_VERSION)

# What `make integration` compiles from source, once per machine (integration/components).
COMPONENTS := containerd runc crio crio-1.34 etcd kubernetes kubelet critest helm

# binary = folder
BINARIES := \
  inlay-deviceplugin=deviceplugins \
  inlay-nri=nri-plugin \
  inlay-hook=oci-hook \
  inlay-webhook=webhook \
  fpga_tool=fpga/cmd/fpga_tool \
  fpga-emulator=fpga/cmd/fpga-emulator

.DEFAULT_GOAL := help
.PHONY: help
help: ## this list
	$(Q)awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## static binaries into bin/
define binary
.PHONY: bin/$(1)
build: bin/$(1)
bin/$(1):
	$$(Q)CGO_ENABLED=0 $$(GO) build -trimpath -tags '$$(TAGS)' -ldflags '$$(LDFLAGS)' -o $$@ ./$(2)
endef
# A test workload, not a product: built beside the others, in no image.
.PHONY: bin/afu-read
bin/afu-read:
	$(Q)CGO_ENABLED=0 $(GO) build -trimpath -o $@ ./integration/workload/afuread
$(foreach b,$(BINARIES),$(eval $(call binary,$(word 1,$(subst =, ,$(b))),$(word 2,$(subst =, ,$(b))))))

.PHONY: demo
demo: build bin/afu-read ## the main job end to end on an emulated FPGA node: no root, no hardware, no cluster
	$(Q)CGO_ENABLED=0 $(GO) run ./integration/demo -bin bin

.PHONY: test
test: ## all tests that need nothing but Go, with -race where a C compiler is found
	$(Q)hack/test.sh

.PHONY: integration
integration: build components ## real containerd, CRI-O and runc with an emulated card, faults included; root on Debian 12 or later
	@# One package at a time: clusters and faults have their times, and two cores are soon busy.
	$(Q)$(GO) test -tags integration -count=1 -p 1 -timeout 45m $(INTEGRATIONFLAGS) ./integration/...

.PHONY: components
components: ## what the integration tests run, compiled from source once on a machine: Kubernetes, containerd, CRI-O and others
	$(Q)$(GO) run ./integration/cmd/components build $(COMPONENTS)

.PHONY: cluster cluster-stop
cluster: ## a one-node cluster with an emulated card and Inlay, left running; root on Debian 12 or later
	$(Q)$(GO) run ./integration/cmd/cluster start $(CLUSTERFLAGS)
cluster-stop: ## end it; it leaves nothing
	$(Q)$(GO) run ./integration/cmd/cluster stop $(CLUSTERFLAGS)

.PHONY: critest
critest: ## critest on containerd and CRI-O with and without inlay-nri; the result goes to docs/results/critest.md; root
	$(Q)$(GO) test -tags integration -count=1 -v -timeout 90m -run '^TestAllSpecs' ./integration/critest -args -full -result $(CURDIR)/docs/results/critest.md $(CRITESTFLAGS)

.PHONY: bench
bench: build ## the benchmark tables, each figure beside its baseline; root for those on real runtimes
	$(Q)if [ $$(id -u) = 0 ]; then $(GO) run ./integration/cmd/components build containerd runc etcd kubernetes >/dev/null; fi
	$(Q)$(GO) run ./integration/bench -bin bin $(BENCHFLAGS)

.PHONY: images
images: ## container images for amd64 and arm64 with their SBOMs, as files in dist/
	$(Q)$(GO) run ./deploy/images -o dist -version '$(VERSION)' -commit '$(COMMIT)' -tags '$(TAGS)' $(IMAGEFLAGS)

.PHONY: soak
soak: ## chaos on a cluster, 300 steps, and 20 upgrades under 20 pods; the result goes to docs/results/soak.md; root
	$(Q)$(GO) run ./integration/cmd/soak -o docs/results/soak.md $(SOAKFLAGS)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10m); the result goes to docs/results/fuzz.md
	$(Q)hack/fuzz.sh $(FUZZTIME) docs/results/fuzz.md

.PHONY: lint
lint: $(LINT) ## golangci-lint with the rules of .golangci.yml
	$(Q)$(LINT) run ./...

.PHONY: fmt
fmt: $(LINT) ## format the Go code
	$(Q)$(LINT) fmt ./...

# Pinned, and built from source so that it knows the Go that runs here.
$(LINT):
	$(Q)mkdir -p $(@D)/.lint && GOBIN=$(@D)/.lint $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	$(Q)mv $(@D)/.lint/golangci-lint $@

.PHONY: generate
generate: ## write generated files anew
	$(Q)$(GO) generate ./...

.PHONY: verify
verify: ## formatting, go vet, go.mod, generated files, links in the documentation
	$(Q)hack/verify.sh

.PHONY: clean
clean: ## take away what was built here; the cache folder stays
	$(Q)rm -rf bin dist
