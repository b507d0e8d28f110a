// Package e2e holds the tests that need a whole cluster: real kubelets, pods, packets and AWS clients on a lab of their
// own. There is no code in it but tests.
package e2e
