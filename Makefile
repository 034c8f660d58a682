# Every target says what it is for behind ##; `make help` lists them.
SHELL := /usr/bin/env bash -euo pipefail
.DEFAULT_GOAL := help
export CGO_ENABLED := 0
# As images are built, so that tests, lint and programs share what is compiled.
export GOFLAGS := $(GOFLAGS) -trimpath

TOOL := go tool -modfile=hack/pins/tools/go.mod
LINT := go tool -modfile=hack/pins/lint/go.mod golangci-lint
# Tests that start a Kubernetes of their own carry these tags; packages run one after the other, for two cores.
TAGS := integration,e2e
PODTIME ?= 10m
# short, long, or a plan of its own: see test/bench/plan.
BENCH ?= short
BENCHOUT ?= dist/bench
# `make verify` vets already, and vetting looks into every dependency.
TEST := $(TOOL) gotestsum --format testname --format-hide-empty-pkg -- -vet=off
LDFLAGS := -s -w

##@ Try it
.PHONY: demo
demo: ## Start a real cluster, install Valetkey and tell the article's story on it
	go run ./hack/demo

.PHONY: demo-backends
demo-backends: ## Tell the same short story for each back end: issue, use, end, try again
	go run ./hack/demo backends

.PHONY: cluster-up
cluster-up: ## Start a cluster to play with; prints the KUBECONFIG line
	go run ./hack/cluster up

.PHONY: cluster-down
cluster-down: ## Remove that cluster and everything it left
	go run ./hack/cluster down

##@ Test
.PHONY: test
test: verify fuzz ## Verify the tree, fuzz for seconds, then run every test: units, a real API server, a real node
	$(TEST) -tags $(TAGS) -p 1 -timeout 60m ./...

.PHONY: test-unit
test-unit: ## Run the tests that need no cluster
	$(TEST) ./...

.PHONY: test-integration
test-integration: ## Run the tests against a real API server, STS and S3
	$(TEST) -tags integration -p 1 -timeout 30m ./test/integration/... ./test/bench/... ./internal/... ./hack/...

.PHONY: test-attacks
test-attacks: ## Try to break in, and print what refused each attack
	go test -tags integration -count=1 -v -timeout 30m ./test/attacks/...
	go test -tags integration -count=1 -v -timeout 30m -run TestAttacksOnTheOperator ./test/integration/

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME, 3s each if not set
	hack/fuzz.sh

.PHONY: fuzz-pods
fuzz-pods: ## Generate Jobs by the API's schema, and judge the Pods of those that pass, for PODTIME, ten minutes if not set
	go test -tags integration -count=1 -v -timeout 0 -run TestPodFuzz ./test/attacks/ -args -podtime=$(PODTIME)

.PHONY: test-crash
test-crash: ## Kill and pause the operator at every step and under load, 270 times, and have all that it talks to fail
	go test -tags integration -count=1 -v -timeout 60m -run 'TestCrashes|TestEveryWriteFailsOnce|TestTheAPIServerIsAway|TestHopelessRequestsKeepNobodyWaiting' ./test/integration/ -args -thorough

.PHONY: test-limits
test-limits: ## Make a thousand requests at once, under three limits, and kill the operator meanwhile; takes long
	go test -tags integration -count=1 -v -timeout 240m -run 'TestLimits' ./test/integration/ -args -thorough

.PHONY: test-conformance
test-conformance: ## Ask of every back end what every back end must do, and print the table
	go test -tags integration -count=1 -json -timeout 30m -run DoesWhatEveryBackEndDoes ./internal/provider/... | go run ./hack/matrix

.PHONY: test-clients
test-clients: ## Ask AWS's command line, and its SDKs for Python and JavaScript, which credential they use
	NODE_PATH=$$(hack/clients.sh) go test -tags clients -count=1 -v -run TestCredential_ ./internal/provider/aws/

.PHONY: test-mutation
test-mutation: ## Take out each admission rule in turn; each must be missed by an attack
	go test -tags mutation -count=1 -v -timeout 60m ./test/attacks/...

.PHONY: test-e2e
test-e2e: ## Run the journeys on a real node, with the operator as it ships
	$(TEST) -tags e2e -p 1 -timeout 60m ./test/e2e/... ./hack/...

.PHONY: test-restarts
test-restarts: ## Restart and evict the operator while two hundred grants live; wants a quiet machine
	go test -tags e2e,heavy -count=1 -v -timeout 30m -run TestManyGrantsOutliveTheirOperators ./test/e2e/

.PHONY: test-release
test-release: ## Build this tree's release twice, for every architecture, and compare; ten minutes the first time
	go test -tags e2e,heavy -count=1 -v -timeout 60m ./hack/image/

.PHONY: test-others
test-others: ## Follow the first page on a cluster where other operators work, which are compiled the first time
	go test -tags e2e,heavy -count=1 -v -timeout 60m -run TestBesideOtherOperators ./test/e2e/

.PHONY: record
record: ## Record the terminal sessions of docs/sessions anew
	mkdir -p docs/sessions
	go test -tags e2e -count=1 -run 'TestJourneys/the_recorded_sessions' ./test/e2e/ -args -update

##@ Measure
.PHONY: bench
bench: build ## Measure the operator beside bare clients on the same API server, in minutes; BENCH=long has every row, in hours
	go build -o bin/bench ./test/bench
	bin/bench -plan '$(BENCH)' -out $(BENCHOUT)

.PHONY: bench-long
bench-long: ## Measure every row of docs/performance.md; takes hours, and wants a quiet machine
	$(MAKE) bench BENCH=long

##@ Build
.PHONY: build
build: ## Build the operator, the plugin and valetkey-exec into bin/
	go build -ldflags "$(LDFLAGS)" -o bin/ ./cmd/...

.PHONY: plugin
plugin: ## Build kubectl's plugin into bin/
	go build -ldflags "$(LDFLAGS)" -o bin/kubectl-valetkey ./cmd/kubectl-valetkey

.PHONY: image
image: build ## Build this machine's images of the operator and of valetkey-exec from their Dockerfiles into dist/
	mkdir -p dist
	go run ./hack/cluster image --tag valetkey.dev/valetkey:dev --output dist/valetkey.tar .
	go run ./hack/cluster image --tag valetkey.dev/valetkey-exec:dev --file Dockerfile.exec --output dist/valetkey-exec.tar .

.PHONY: release
release: ## Build the commit's images, for every architecture and with bills of materials, into dist/release/
	go run ./hack/image

.PHONY: site
site: ## Build the documentation's site into dist/site, and check its links; nothing in it is loaded from elsewhere
	go run ./hack/site

.PHONY: generate
generate: ## Generate deep copies, the CRDs, the rule and page of a Job's fields, the chart's templates and the API's reference
	$(TOOL) controller-gen object:headerFile=hack/boilerplate/go.txt crd output:crd:dir=config/crd paths=./api/...
	go run ./hack/jobfields
	go run ./hack/chart
	hack/apiref.sh

##@ Verify
.PHONY: verify
verify: verify-generated fmt-check lint vulnerable site ## Fail on anything stale, unformatted, unclean or known to be vulnerable

.PHONY: verify-generated
verify-generated:
	hack/verify-generated.sh

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(git ls-files '*.go' | xargs gofmt -l); if [ -n "$$unformatted" ]; then echo "gofmt these files: $$unformatted"; exit 1; fi

.PHONY: lint
lint: ## Lint, the direction of imports included
	$(LINT) run --build-tags $(TAGS),mutation,heavy,clients

.PHONY: vulnerable
vulnerable: ## Look for known vulnerable dependencies, where the database can be reached
	hack/vulnerable.sh

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
