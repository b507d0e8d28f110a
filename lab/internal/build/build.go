// Package build makes everything that the lab runs, into the repository's .cache folder: Kubernetes and the other
// programs compiled from their modules, Debian packages unpacked, images put together. What is up to date is left
// alone; a second run takes a second. It neither installs nor starts anything.
package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/berth-net/berth/lab/internal/controlplane"
	"github.com/berth-net/berth/lab/internal/deb"
	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/layout"
)

// Config is where to build and whom to tell.
type Config struct {
	// Repo is the repository's folder.
	Repo string
	// Env is the environment of the Go tool and of apt: PATH, HOME, proxies, GOPROXY and so on.
	Env []string
	// Progress is told what each of several things at a time is doing; an empty line is its end.
	Progress func(what, line string)
}

// Cache is the folder that everything is built into.
func (c Config) Cache() layout.Cache { return layout.Cache(filepath.Join(c.Repo, ".cache")) }

// say is Progress, where there is one.
func (c Config) say(what, format string, args ...any) {
	if c.Progress != nil {
		c.Progress(what, fmt.Sprintf(format, args...))
	}
}

// All makes everything. Compiling and unpacking go on side by side.
func All(ctx context.Context, c Config) error {
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { return Programs(inner, c) })
	group.Go(func() error { return Packages(inner, c) })
	if err := group.Wait(); err != nil {
		return err
	}
	return Images(c)
}

// Programs compiles what is compiled.
func Programs(ctx context.Context, c Config) error {
	for _, t := range targets() {
		if _, err := os.Stat(filepath.Join(c.Repo, t.dir, "go.mod")); errors.Is(err, os.ErrNotExist) {
			continue // a module that this version of the repository does not have
		}
		if err := t.build(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// Helm compiles Helm alone.
func Helm(ctx context.Context, c Config) error { return helm().build(ctx, c) }

// Packages unpacks Debian's packages and writes their wrappers.
func Packages(ctx context.Context, c Config) error {
	const what = "packages"
	defer c.say(what, "")
	cache := c.Cache()
	u := deb.Unpacker{
		Work: filepath.Join(string(cache), "apt"), Proxies: proxies(c.Env), Progress: func(line string) { c.say(what, "%s", line) },
	}
	if _, err := u.Unpack(ctx, deb.Node(), cache.NodeRoot()); err != nil {
		return err
	}
	fresh, err := u.Unpack(ctx, deb.AWS(), cache.AWSRoot())
	if err != nil {
		return err
	}
	if fresh {
		c.say(what, "compiling the AWS command line")
		if err := deb.CompilePython(ctx, cache.AWSRoot()); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(cache.Bin(), 0o755); err != nil {
		return fmt.Errorf("make folder of programs: %w", err)
	}
	for _, w := range deb.Wrappers(cache.NodeRoot(), cache.AWSRoot()) {
		if err := w.Write(cache.Bin()); err != nil {
			return err
		}
	}
	return nil
}

// Compiler unpacks the compiler of eBPF objects.
func Compiler(ctx context.Context, c Config) error {
	const what = "compiler"
	defer c.say(what, "")
	cache := c.Cache()
	u := deb.Unpacker{
		Work: filepath.Join(string(cache), "apt"), Proxies: proxies(c.Env), Progress: func(line string) { c.say(what, "%s", line) },
	}
	if _, err := u.Unpack(ctx, deb.Compiler(), cache.CompilerRoot()); err != nil {
		return err
	}
	if err := os.MkdirAll(cache.Bin(), 0o755); err != nil {
		return fmt.Errorf("make folder of programs: %w", err)
	}
	for _, w := range deb.CompilerWrappers(cache.CompilerRoot()) {
		if err := w.Write(cache.Bin()); err != nil {
			return err
		}
	}
	return nil
}

// Images puts the lab's own images together.
func Images(c Config) error {
	cache := c.Cache()
	c.say("images", "building images")
	defer c.say("images", "")
	if err := image.Write(image.Pause(cache), cache.Image("pause")); err != nil {
		return err
	}
	return image.Write(image.Agnhost(cache), cache.Image("agnhost"))
}

// kubernetesVersion is what the components say that they are.
const kubernetesVersion = "v" + controlplane.Version
