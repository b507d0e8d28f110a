// Command berth-kube is the Kubernetes of the lab in one program: etcd, kube-apiserver, kube-controller-manager,
// kube-scheduler, kubelet and kube-proxy, each the unmodified upstream command. It runs the one that it is called as
// (through a link of that name) or that its first argument names.
//
// One program because it is linked once and its pages are shared by everything that runs from it: a lab of six nodes
// has thirteen of these processes. kubectl and agnhost are programs of their own, since a user waits for the start of
// the first and the second becomes an image.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // time zones of CronJobs, as the upstream commands carry them

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the json log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	os.Exit(run(os.Args))
}

// programs maps a name to what runs it with the whole argument list, the name first.
func programs() map[string]func(args []string) int {
	upstream := func(command func() *cobra.Command) func([]string) int {
		return func(args []string) int {
			os.Args = args // cobra and klog both read it
			return cli.Run(command())
		}
	}
	return map[string]func([]string) int{
		"etcd": func(args []string) int {
			etcdmain.Main(args)
			return 0
		},
		"kube-apiserver":          upstream(apiserver.NewAPIServerCommand),
		"kube-controller-manager": upstream(controllermanager.NewControllerManagerCommand),
		"kube-proxy":              upstream(proxy.NewProxyCommand),
		"kube-scheduler":          upstream(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kubelet":                 upstream(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	}
}

func run(args []string) int {
	all := programs()
	name := filepath.Base(args[0])
	program, ok := all[name]
	if !ok && len(args) > 1 {
		args = args[1:]
		program, ok = all[args[0]]
	}
	if !ok {
		names := slices.Sorted(maps.Keys(all))
		fmt.Fprintf(os.Stderr, "usage: berth-kube PROGRAM [flags]\nprograms: %s\n", strings.Join(names, " "))
		return 2
	}
	return program(args)
}
