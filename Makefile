# The commands one needs. What they do is in .ci and in go; nothing here is more than a name for it.

.DEFAULT_GOAL := help
.PHONY: help test lint api bench ci slow fuzz e2e

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run the tests, with the race detector: a minute or two
	go test -race ./...

lint: ## gofmt, go vet, staticcheck, the API record, the dependencies, in every module
	.ci/lint

api: ## record the exported API in api/, after a change that is meant
	go run ./internal/api -write

bench: ## benchmarks of the parts, for benchstat; bench/ compares with other servers
	go test -run '^$$' -bench . -benchmem -count 6 ./...

ci: ## everything that has to hold before a change lands, on a Debian machine, as root: half an hour
	.ci/run

slow: ## the tests of real deadlines, and of what a push allocates
	.ci/slow

fuzz: ## every fuzz target for some seconds
	.ci/fuzz

e2e: ## other people's clients, and a browser, against the examples
	e2e/run
