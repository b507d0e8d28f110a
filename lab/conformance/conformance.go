// Package conformance keeps the conformance suite of the network policy API among this module's requirements. There is nothing in it: the
// suite is upstream's own test, built as it is by
//
//	go test -c -o network-policy-api.test sigs.k8s.io/network-policy-api/conformance
package conformance

import (
	_ "sigs.k8s.io/network-policy-api/conformance"             // the manifests
	_ "sigs.k8s.io/network-policy-api/conformance/tests"       // what the test imports
	_ "sigs.k8s.io/network-policy-api/conformance/utils/flags" // its flags
)
