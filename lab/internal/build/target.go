package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// target is a module of which programs are built.
type target struct {
	name     string
	dir      string   // of the module, in the repository
	packages []string // mains
	out      string   // below bin: a folder if it ends in a slash, else the program
	ldflags  string
	// closed is a module whose programs depend on its own folder and pinned modules alone: equal files, equal programs,
	// and the Go tool need not be asked. Others are cheap to ask about.
	closed bool
}

func targets() []target {
	return []target{
		{name: "node programs", dir: "lab", packages: []string{"./cmd/berth-machine", "./cmd/lab-sctp", "./cmd/pause"}, out: "./"},
		{name: "CNI plugins", dir: "lab", packages: plugins(), out: "cni/"},
		{
			name: "Kubernetes " + kubernetesVersion, dir: "lab/kube", out: "./", closed: true, ldflags: versionFlags(),
			packages: []string{"./cmd/berth-kube", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes/test/images/agnhost"},
		},
		{name: "CoreDNS", dir: "lab/coredns", packages: []string{"."}, out: "coredns", closed: true},
		helm(),
	}
}

// helm is the upstream command. What it takes for a cluster's version when none is asked, it is told as its own releases are.
func helm() target {
	major, minor := numbers()
	var flags strings.Builder
	for _, pkg := range []string{"pkg/chartutil.k8sVersion", "pkg/lint/rules.k8sVersion"} {
		fmt.Fprintf(&flags, " -X helm.sh/helm/v3/%[1]sMajor=%[2]s -X helm.sh/helm/v3/%[1]sMinor=%[3]s", pkg, major, minor)
	}
	return target{name: "Helm", dir: "lab/helm", packages: []string{"helm.sh/helm/v3/cmd/helm"}, out: "./", closed: true, ldflags: flags.String()}
}

// numbers are the first two of Kubernetes' version.
func numbers() (major, minor string) {
	major, rest, _ := strings.Cut(strings.TrimPrefix(kubernetesVersion, "v"), ".")
	minor, _, _ = strings.Cut(rest, ".")
	return major, minor
}

// plugins are the CNI plugins that an EKS node image brings; the lab's go.mod names them as tools.
func plugins() []string {
	names := []string{"ipam/host-local", "main/bridge", "main/loopback", "main/ptp", "meta/bandwidth", "meta/portmap", "meta/tuning"}
	for i, n := range names {
		names[i] = "github.com/containernetworking/plugins/plugins/" + n
	}
	return names
}

// versionFlags set what the components report: without them it is v0.0.0.
func versionFlags() string {
	var b strings.Builder
	major, minor := numbers()
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		fmt.Fprintf(&b, " -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
			pkg, kubernetesVersion, major, minor)
	}
	return b.String()
}

// flags are those of every build. Static, because the programs run in nodes and images, too.
func (t target) flags() []string { return []string{"-trimpath", "-ldflags", "-s -w" + t.ldflags} }

// build builds the target unless it is up to date.
func (t target) build(ctx context.Context, c Config) error {
	defer c.say(t.name, "")
	stamp := filepath.Join(string(c.Cache()), "stamps", strings.ReplaceAll(t.name, " ", "-"))
	var want string
	if t.closed {
		var err error
		if want, err = t.fingerprint(c); err != nil {
			return fmt.Errorf("build %s: %w", t.name, err)
		}
		if have, err := os.ReadFile(stamp); err == nil && string(have) == want && t.present(c) {
			return nil
		}
	}
	c.say(t.name, "reading modules")
	total, err := t.stale(ctx, c)
	if err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	if err := t.compile(ctx, c, total); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	if !t.closed {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(stamp), 0o755); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("build %s: %w", t.name, err)
	}
	return nil
}

// present reports whether every program of the target is there.
func (t target) present(c Config) bool {
	if !strings.HasSuffix(t.out, "/") {
		_, err := os.Stat(c.Cache().Bin(t.out))
		return err == nil
	}
	for _, p := range t.packages {
		if _, err := os.Stat(c.Cache().Bin(t.out, filepath.Base(p))); err != nil {
			return false
		}
	}
	return true
}

// fingerprint changes with the module's files, the flags and the Go version.
func (t target) fingerprint(c Config) (string, error) {
	h := sha256.New()
	_, _ = fmt.Fprintln(h, runtime.Version(), t.flags(), t.packages, t.out)
	files := os.DirFS(filepath.Join(c.Repo, t.dir))
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read module: %w", err)
	}
	return fmt.Sprintf("%x\n", h.Sum(nil)), nil
}

// gotool is a run of the Go tool in the module.
func (t target) gotool(ctx context.Context, c Config, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(c.Repo, t.dir)
	cmd.Env = append(append([]string{}, c.Env...), "CGO_ENABLED=0", "GOWORK=off")
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// stale counts the packages that a build compiles.
func (t target) stale(ctx context.Context, c Config) (int, error) {
	args := append([]string{"list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, t.flags()...)
	cmd := t.gotool(ctx, c, append(args, t.packages...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("list packages: %w: %s", err, lastLines(said.String()))
	}
	return strings.Count(string(out), "\n"), nil
}

// compile builds and tells how far it is: with -v the tool names each package when it begins it.
func (t target) compile(ctx context.Context, c Config, total int) error {
	out := filepath.Join(c.Cache().Bin(), t.out)
	dir := filepath.Dir(out)
	if strings.HasSuffix(t.out, "/") {
		dir = out
		out += "/"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder of programs: %w", err)
	}
	args := append([]string{"build", "-v", "-o", out}, t.flags()...)
	cmd := t.gotool(ctx, c, append(args, t.packages...)...)
	lines, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the Go tool: %w", err)
	}
	var said strings.Builder
	done := 0
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		line := scan.Text()
		if strings.ContainsAny(line, " #:") { // a message, not a package
			said.WriteString(line + "\n")
			continue
		}
		if done++; done < total {
			c.say(t.name, "compiling, package %d of %d", done, total)
		} else {
			c.say(t.name, "linking")
		}
	}
	if err := cmd.Wait(); err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("%w: %s", err, lastLines(said.String())))
	}
	return nil
}

// lastLines is the end of a program's output, for an error.
func lastLines(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// proxies are the settings that apt reads from the environment.
func proxies(env []string) []string {
	var all []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
			all = append(all, e)
		}
	}
	return all
}

// Built reports whether every program that takes long to compile is there.
func (c Config) Built() bool {
	for _, t := range targets() {
		if _, err := os.Stat(filepath.Join(c.Repo, t.dir, "go.mod")); err == nil && t.closed && !t.present(c) {
			return false
		}
	}
	return true
}
