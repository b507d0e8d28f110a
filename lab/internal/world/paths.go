package world

import (
	"os"
	"path/filepath"

	"github.com/berth-net/berth/lab/internal/layout"
)

// Paths are where a lab keeps what. There is one lab on a machine: its runtime folder is fixed.
type Paths struct {
	// Repo is the checkout that the lab was built from.
	Repo string
	// Dir holds what outlives the process: the VPC, etcd's data, the nodes' disks, logs.
	Dir string
	// Run holds what only a running lab has: the namespaces and the control socket.
	Run string
}

// runtimeDir is short, as the path of a socket must be.
const runtimeDir = "/run/berth-lab"

// PathsOf returns the paths of a checkout's lab.
func PathsOf(repo string) Paths {
	return Paths{Repo: repo, Dir: filepath.Join(repo, ".lab"), Run: runtimeDir}
}

// Cache is where programs and images are.
func (p Paths) Cache() layout.Cache { return layout.Cache(filepath.Join(p.Repo, ".cache")) }

// Program is a program of this repository.
func (p Paths) Program(name string) string { return filepath.Join(p.Repo, "bin", name) }

// Socket is where the running lab takes orders.
func (p Paths) Socket() string { return filepath.Join(p.Run, "control.sock") }

// Record says which process is the lab.
func (p Paths) Record() string { return filepath.Join(p.Run, "lab.json") }

// Log is the lab's own log, Progress what `lab up` shows of it.
func (p Paths) Log() string { return filepath.Join(p.Dir, "log", "berth-lab.log") }

// Progress is the file of progress lines.
func (p Paths) Progress() string { return filepath.Join(p.Dir, "log", "progress.jsonl") }

// Config is the cluster's file as it was given.
func (p Paths) Config() string { return filepath.Join(p.Dir, "cluster.yaml") }

// Choices is the file of the options that it was started with.
func (p Paths) Choices() string { return filepath.Join(p.Dir, "choices.json") }

// Kubeconfig is the operator's.
func (p Paths) Kubeconfig() string { return filepath.Join(p.Plane(), "kubeconfig") }

// Plane is the control plane's folder, Nodes that of the nodes' disks.
func (p Paths) Plane() string { return filepath.Join(p.Dir, "control-plane") }

// Nodes is the folder below which each node has its own.
func (p Paths) Nodes() string { return filepath.Join(p.Dir, "nodes") }

// AWSData is the folder that AWS_DATA_PATH names.
func (p Paths) AWSData() string { return filepath.Join(p.Dir, "aws") }

func (p Paths) netns() string     { return filepath.Join(p.Run, "netns") }
func (p Paths) snapshot() string  { return filepath.Join(p.Dir, "vpc.json") }
func (p Paths) built() string     { return filepath.Join(p.Dir, "built.json") }
func (p Paths) addons() string    { return filepath.Join(p.Dir, "addons.json") }
func (p Paths) installed() string { return filepath.Join(p.Dir, "addons.done") }
func (p Paths) chart() string     { return filepath.Join(p.Dir, "chart") }
func (p Paths) images() string    { return filepath.Join(p.Dir, "images") }
func (p Paths) ports() string     { return filepath.Join(p.Dir, "ports.json") }
func (p Paths) roles() string     { return filepath.Join(p.Dir, "roles.json") }
func (p Paths) instances() string { return filepath.Join(p.Dir, "instances.json") }

// Make creates the folders.
func (p Paths) Make() error {
	for _, dir := range []string{p.Dir, p.Run, p.netns(), p.Nodes(), p.AWSData(), p.images(), filepath.Dir(p.Log())} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
