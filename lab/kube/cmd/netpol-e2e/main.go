// Command netpol-e2e is Kubernetes' own end-to-end tests of NetworkPolicy, unmodified, as a program of a second to start: the upstream
// binary has every other test with it. Flags are upstream's, such as -kubeconfig, -ginkgo.focus and -report-dir.
package main

import (
	"flag"
	"os"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"k8s.io/component-base/logs"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init" // what a failed test shows of its namespace
	_ "k8s.io/kubernetes/test/e2e/network/netpol"       // the tests
)

// outcome is what ginkgo needs of a testing.T.
type outcome struct{ failed bool }

// Fail implements ginkgo.GinkgoTestingT.
func (o *outcome) Fail() { o.failed = true }

func main() {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	framework.AfterReadingAllFlags(&framework.TestContext)
	logs.InitLogs()
	gomega.RegisterFailHandler(framework.Fail)
	suite, reporter := framework.CreateGinkgoConfig()
	var o outcome
	if !ginkgo.RunSpecs(&o, "NetworkPolicy of Kubernetes", suite, reporter) || o.failed {
		os.Exit(1)
	}
}
