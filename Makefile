# Everything a person or a CI machine runs. `make help` lists it.

GO       ?= go
FUZZTIME ?= 10s

# golangci-lint comes from a module file of its own, so that its several hundred
# dependencies stay out of the service's go.mod (docs/adr/0008). The first use
# builds it (about three minutes on two cores); after that it is in Go's build
# cache.
LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: vet lint test-go test-manifests test-clients test-dashboard fuzz-short ## all checks: vet, lint, every test under the race detector with the real CLI, the manifests, real clients, the dashboard in a browser, short fuzzing

.PHONY: vet
vet: ## go vet, also of what is only for macOS
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./internal/supervise

.PHONY: lint
lint: ## golangci-lint at its pinned version, with .golangci.yml
	$(LINT) run --allow-serial-runners ./...

.PHONY: format
format: ## format every file as the lint check wants it
	$(LINT) fmt ./...

# The race detector is linked in through cgo, so these tests need a C compiler;
# the service itself doesn't.
.PHONY: test-go
test-go: need-cc cli ## Go tests, shuffled, under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 35m ./...

.PHONY: need-cc
need-cc:
	@command -v "$$($(GO) env CC)" >/dev/null || { echo 'The race detector needs a C compiler (Debian: apt install gcc), or name one in CC.' >&2; exit 1; }

# Before the other tests, so that several packages don't fetch the same 400 MB at
# once, and so that the progress is seen.
.PHONY: cli
cli: ## install the pinned Claude Code CLI versions from npm into the cache folder, and check them
	$(GO) test -count=1 -v -timeout 25m -run '^TestPinnedVersions$$' ./internal/claudecli/clitest

# The clients of both APIs for Node.js and Go, at pinned versions. npm ci needs the
# npm registry or a warm npm cache. Without npm the test says that it is skipped,
# or fails, as with a missing CLI.
.PHONY: test-clients
test-clients: need-cc cli ## real clients (OpenAI, Anthropic, AI SDK, LangChain, ws) against the service, on both backends
	@if command -v npm >/dev/null; then cd clients && npm ci --prefer-offline; fi
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 10m ./internal/clienttest -clients

.PHONY: dashboard
dashboard: ## build the page at /dashboard from web/ into internal/dashboard/dist, which is committed
	cd web && npm ci --prefer-offline && npm run build

# The page in a browser, Debian's chromium or another one: without it, or without npm,
# the tests say that they are skipped, or fail, as with a missing CLI.
.PHONY: test-dashboard
test-dashboard: cli ## lint and types of web/, the committed page against its sources, and the page in Chromium against the service
	@if command -v npm >/dev/null; then cd web && npm ci --prefer-offline && npm run check; fi
	$(GO) test -count=1 -timeout 20m ./internal/dashboard -browser

.PHONY: screenshots
screenshots: cli ## take the pictures of docs/dashboard.md, with data by the simulator
	cd web && npm ci --prefer-offline
	$(GO) test -count=1 -v -timeout 20m -run '^TestScreenshots$$' ./internal/dashboard -screenshots "$(CURDIR)/docs/images"

.PHONY: test-systemd
test-systemd: ## install and run the service under a booted systemd, in a container (root, systemd-nspawn; Debian: apt install systemd-container)
	$(GO) test -count=1 -v -timeout 20m -run '^TestUnderSystemd$$' ./cmd/claude-api -booted

# The manifests against Kubernetes' own types, which are in a module file of their own.
.PHONY: test-manifests
test-manifests: ## the manifests of deploy/kubernetes, strictly decoded
	cd tools/manifests && $(GO) test -count=1 ./...

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZTIME (10s)
	@for dir in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n 1 dirname | sort -u); do \
		for target in $$($(GO) test -list '^Fuzz' $$dir | grep '^Fuzz'); do \
			echo "$$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$dir || exit 1; \
		done; \
	done

.PHONY: fuzz-short
fuzz-short: ## run each fuzz target for one second
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1s

ROUNDS  ?= 100
MINUTES ?= 60

.PHONY: soak
soak: kills ## load the service with the real CLI for MINUTES (60), memory and latency flat; and kill it under load, ROUNDS (100) times
	$(GO) test -run '^TestSoak$$' -count=1 -v -timeout 24h ./cmd/claude-api -soak-minutes $(MINUTES)

.PHONY: kills
kills: ## kill the service under load, ROUNDS (100) times, and hold the ledger against what was answered and spent
	$(GO) test -run '^TestKillInLoad$$' -count=$(ROUNDS) -timeout 2h ./cmd/claude-api

SEED     ?= $(shell date +%s)
DURATION ?= 2m

.PHONY: chaos
chaos: need-cc ## faults everywhere under load of all kinds, for DURATION (2m), as SEED says; the test's own short run is part of test-go
	CGO_ENABLED=1 $(GO) test -race -count=1 -v -timeout 2h -run '^TestChaos$$' ./cmd/claude-api -chaos-seed $(SEED) -chaos-duration $(DURATION)

.PHONY: cluster
cluster: need-cc ## three nodes on one PostgreSQL under load for DURATION (2m): one killed, each restarted; the test's own short run is part of test-go
	CGO_ENABLED=1 $(GO) test -race -count=1 -v -timeout 2h -run '^TestCluster$$' ./cmd/claude-api -cluster-duration $(DURATION)

.PHONY: bench-cluster
bench-cluster: ## measure a request through three nodes on one PostgreSQL against one node alone
	$(GO) test -count=1 -v -timeout 30m -run '^TestClusterLatency$$' ./cmd/claude-api -cluster-latency

.PHONY: bench-cli
bench-cli: ## measure the CLI path against a bare warm process and a process per request
	$(GO) run ./cmd/claude-api bench cli

.PHONY: bench-sources
bench-sources: ## measure each source of the former service's latency, before and after; draw docs/images/latency.svg
	$(GO) run ./cmd/claude-api bench --rounds 20 --svg docs/images/latency.svg

.PHONY: bench-direct
bench-direct: ## measure the direct path against the upstream alone
	$(GO) run ./cmd/claude-api bench direct

.PHONY: bench-go
bench-go: ## Go benchmarks of the parts
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: build
build: ## build bin/claude-api, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/claude-api ./cmd/claude-api

# SITE_REPOSITORY is where links out of docs/ lead, up to a file's path
# (https://host/owner/name/blob/main); SITE_BASE the path that the site has on its host.
.PHONY: site
site: docs/.vitepress/node_modules ## build the pages of docs/ into bin/site (needs npm)
	docs/.vitepress/node_modules/.bin/vitepress build docs

.PHONY: site-preview
site-preview: site ## show bin/site on http://127.0.0.1:4173
	docs/.vitepress/node_modules/.bin/vitepress preview docs --host 127.0.0.1

docs/.vitepress/node_modules: docs/.vitepress/package-lock.json
	cd docs/.vitepress && npm ci --prefer-offline --no-audit --no-fund
	touch $@

# Of the version that .goreleaser.yaml is written for.
GORELEASER = $(GO) run github.com/goreleaser/goreleaser/v2@v2.15.1

.PHONY: release-check
release-check: ## have goreleaser judge .goreleaser.yaml (the first use builds it: minutes)
	GITHUB_REPOSITORY_OWNER=$${GITHUB_REPOSITORY_OWNER:-example} $(GORELEASER) check

.PHONY: release-snapshot
release-snapshot: ## build archives and packages into dist/, without images and without publishing anything
	GITHUB_REPOSITORY_OWNER=$${GITHUB_REPOSITORY_OWNER:-example} $(GORELEASER) release --snapshot --clean --skip=publish,docker

.PHONY: release
release: ## what the workflow does for a version's tag: build and publish a draft
	$(GORELEASER) release --clean

.PHONY: clean
clean: ## remove what build made
	rm -rf bin dist .release
