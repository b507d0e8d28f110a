# CoreDNS with the plugins that a cluster's DNS needs, for the image coredns of the lab.
.cache/bin/coredns: lab/coredns/main.go lab/coredns/go.mod lab/coredns/go.sum ## builds CoreDNS
	cd lab/coredns && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o ../../$@ .
