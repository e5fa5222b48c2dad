# Everything a person or CI does here. `make help` lists it.

export CGO_ENABLED ?= 0
# The same flags for everything, so that nothing is compiled twice. The version comes from git describe, below.
export GOFLAGS := $(GOFLAGS) -trimpath -buildvcs=false

# v0.2.0 -> 0.2.0; three commits later -> 0.2.0+3.g1234567, so that required_version still finds it at least 0.2.0.
TAGGED  := $(shell git describe --tags --match 'v*' 2>/dev/null | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/')
VERSION ?= $(or $(TAGGED),0.1.0-dev+g$(shell git rev-parse --short HEAD 2>/dev/null || echo unknown))
GOBUILD  = go build -ldflags '-s -w -X main.version=$(VERSION)'

FUZZTIME  ?= 10s
BENCHARGS ?= -size=4GiB
DEMOARGS  ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/holdfast
	@$(GOBUILD) -o bin/holdfast ./cmd/holdfast

.PHONY: setup
setup: ## install what tests and demo start and this machine lacks (PostgreSQL, age, zstd, node)
	@test/setup.sh

.PHONY: demo
demo: setup build ## the main job on real data: back up, change, damage, verify, restore, compare
	@go run ./test/demo -holdfast=bin/holdfast $(DEMOARGS)

.PHONY: test
test: setup build ## every test that takes seconds, real servers included
	go test -timeout 20m ./...

.PHONY: test-long
test-long: setup build ## the same tests with more cases, more crashes, more data
	HOLDFAST_LONG=1 go test -timeout 120m ./...

.PHONY: check
check: bin/tools/staticcheck bin/tools/gofumpt ## what needs no running: vet, formatting, staticcheck, import arrows
	go vet ./...
	@unformatted=$$(bin/tools/gofumpt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted (run: make fmt):" >&2; echo "$$unformatted" >&2; exit 1; fi
	bin/tools/staticcheck ./...
	go test ./test/arch

.PHONY: fmt
fmt: bin/tools/gofumpt ## format the Go code
	@bin/tools/gofumpt -w .

.PHONY: race
race: setup ## the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race -timeout 60m ./...

.PHONY: fuzz-short
fuzz-short: ## each fuzz test for FUZZTIME (10s)
	@grep -rno --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:[0-9]*:func | |' | sort | \
	while read -r dir name; do \
		echo "$$dir $$name"; \
		go test -run='^$$' -fuzz="^$$name\$$" -fuzztime=$(FUZZTIME) "$$dir" || exit 1; \
	done

.PHONY: golden
golden: ## write the golden files anew; read the difference before you commit it
	@go test $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -n1 dirname | sort -u) -update

.PHONY: bench
bench: build ## Go benchmarks, then holdfast against restic and tar|zstd|age on 4 GB (BENCHARGS)
	@test/setup.sh restic age zstd || echo "bench: goes on without; what is missing is not measured" >&2
	go test -run='^$$' -bench=. -benchmem ./...
	go run ./test/bench -holdfast=bin/holdfast $(BENCHARGS)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin

# The tools are pinned in a module of their own, so that the product's go.mod lists what the product needs.
bin/tools/%: tools/lint/go.mod tools/lint/go.sum
	@cd tools/lint && go build -o ../../bin/tools/ $$(go list -f '{{.ImportPath}}' tool | grep '/$*$$')
	@touch $@
