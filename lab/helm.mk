# Helm as the lab and the tests of the chart run it: the upstream command, unmodified.
.cache/bin/helm: lab/helm/go.mod lab/helm/go.sum
	cd lab && go run ./cmd/lab-prepare -helm
	@touch $@
