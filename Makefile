# Names for the commands that contributors need. The commands themselves are in .ci and in the go tool.

.DEFAULT_GOAL := help
.PHONY: help test lint api bench ci dirs slow fuzz e2e

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## run the tests: a minute
	go test ./...

lint: ## check all modules: format, vet, staticcheck, API record, dependencies, known vulnerabilities
	.ci/lint

api: ## record the exported API in api/, after an intended change
	.ci/api -write

bench: ## run the benchmarks of the parts, for benchstat; bench/ compares with other servers
	go test -run '^$$' -bench . -benchmem -count 6 ./...

ci: ## run everything that must pass before a change lands, on Debian as root
	.ci/run

dirs: ## run the tests of the directories in Redis and NATS, and of the example with them; needs redis-server and nginx
	cd directory/redis && go test -race ./...
	cd directory/nats && go test -race ./...
	cd examples/users && go test -race ./...

slow: ## run the tests of real deadlines, and of what a push allocates
	.ci/slow

fuzz: ## run every fuzz target for some seconds
	.ci/fuzz

e2e: ## run other people's clients and a browser against the examples
	e2e/run
