# Targets of the lab's building blocks, for the repository's Makefile to include.

LAB_DIR := $(dir $(lastword $(MAKEFILE_LIST)))

.PHONY: lab-programs lab-check lab-go

lab-programs: lab-go ## check the machine, then build what the lab runs into .cache (7 minutes at first, then a second)
	@cd $(LAB_DIR) && go run ./cmd/lab-prepare

lab-check: lab-go ## name what this machine lacks for the lab
	@cd $(LAB_DIR) && go run ./cmd/lab-prepare -check

# The check itself is a Go program.
lab-go:
	@command -v go >/dev/null || { echo "this machine lacks Go: unpack version 1.26 or later from https://go.dev/dl into /usr/local" >&2; exit 1; }
