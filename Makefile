# Everything a contributor runs. It needs Go, a C compiler (for the race detector) and make.

GO      ?= go
# What runs the tests; .ci/run sets test/tools/retest, which gives packages in which a test failed a second try.
TEST    := $(GO) test ./...
BIN     := $(CURDIR)/bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# -trimpath and an empty build id: the same commit gives the same bytes wherever it is built.
BUILD   := $(GO) build -trimpath -ldflags "-buildid= -X main.version=$(VERSION)"

.PHONY: all build dev test race soak bench lint fuzz generate clean

all: build

build: ## the assay program, in bin/
	@$(BUILD) -o $(BIN)/assay ./cmd/assay

dev: build ## everything on this machine: a real Vault, provisioned, and Assay with a sample token
	@vault=; [ -n "$$VAULT_ADDR" ] || vault=$$(command -v vault || command -v bao || $(GO) run ./test/realvault/vaultbuild) || exit 1; \
	  ASSAY_DEV_VAULT="$$vault" exec $(BIN)/assay dev $(DEVFLAGS)

# A package that starts real servers takes minutes, and several times as many on a busy machine.
test: ## all tests, against a real Vault
	@$(TEST) -timeout 60m $(TESTFLAGS)

race: ## all tests under the race detector
	@CGO_ENABLED=1 $(TEST) -race -timeout 90m $(TESTFLAGS)

soak: ## revocation under random faults of a real NATS cluster, for SOAK (default 10m)
	@$(GO) test ./test/revocationcluster -run TestSoak -v -timeout 24h -soak $(or $(SOAK),10m)

bench: ## ratios against peers, measured in one run
	@test/bench/run $(BENCHFLAGS)

lint: ## gofmt, go vet, golangci-lint, Rego format and strict check
	@test/tools/lint

fuzz: ## each fuzz target for FUZZTIME (default 10s)
	@test/tools/fuzz $(FUZZTIME)

generate: ## the catalogue and whatever else is derived
	@$(GO) generate ./...

clean:
	@rm -rf $(BIN)
