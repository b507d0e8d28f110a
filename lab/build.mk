# Targets of the lab's building blocks, for the repository's Makefile to include.

LAB_DIR := $(dir $(lastword $(MAKEFILE_LIST)))

.PHONY: lab-programs lab-check

lab-programs: ## check the machine, then build what the lab runs into .cache (7 minutes at first, then a second)
	@cd $(LAB_DIR) && go run ./cmd/lab-prepare

lab-check: ## name what this machine lacks for the lab
	@cd $(LAB_DIR) && go run ./cmd/lab-prepare -check
