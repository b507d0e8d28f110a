# Helm as the lab and the tests of the chart run it: the upstream command, unmodified.
HELM_VERSION = $(shell cd lab/helm && go list -m -f '{{.Version}}' helm.sh/helm/v3)
HELM_FLAGS = -s -w -X helm.sh/helm/v3/internal/version.version=$(HELM_VERSION) \
	-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=35 \
	-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=35

.cache/bin/helm: lab/helm/go.mod lab/helm/go.sum ## builds Helm
	cd lab/helm && CGO_ENABLED=0 go build -trimpath -ldflags "$(HELM_FLAGS)" -o ../../$@ helm.sh/helm/v3/cmd/helm
