package fabric

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/fabric/plan"
)

// Link-local services of a VPC, reachable from every interface whatever the routes say.
var (
	// MetadataAddr is where an instance finds its metadata service.
	MetadataAddr = plan.MetadataAddr
	// ResolverAddr is the VPC's DNS resolver.
	ResolverAddr = plan.ResolverAddr
)

// Options configure a fabric.
type Options struct {
	// Prefix starts the name of every namespace; no other fabric in the same directory may have one that it begins.
	Prefix string
	// Dir holds the bind mounts that keep the namespaces; with /run/netns, ip netns shows them.
	Dir string
	// NFT is the nft program; empty means that of the search path. Version 1.0.6 or later.
	NFT    string
	Logger *slog.Logger
}

// Fabric is the network of a simulated region. Its methods may be called from several goroutines.
type Fabric struct {
	prefix, dir, nft string
	log              *slog.Logger

	mu       sync.Mutex
	scanned  bool
	spaces   map[plan.Key]*live
	want     *plan.World
	fresh    []end // of links made by the Apply that runs
	extra    []netip.Addr
	hubs     map[hubKey]*hub
	services []func() error // what stops the internet's services
	owners   atomic.Pointer[map[vpc.ID]*plan.Owners]
}

// live is a namespace that exists, with what was built in it. Content that is not known is read from the kernel before
// it is compared.
type live struct {
	key    plan.Key
	path   string
	ns     netns.NsHandle
	h      *netlink.Handle // nil for an instance's namespace
	known  bool
	booted bool // an instance's primary interface has been configured
	// adopted is true until what a former process left has been seen to work.
	adopted bool
	links   map[string]built
	addrs   map[netip.Addr]bool
	routes  map[plan.RouteKey]plan.Route
	rules   map[plan.Rule]bool
	nft     plan.Ruleset
}

// built is a link in a namespace; ident is its alias.
type built struct {
	ident string
	index int
}

// New returns a fabric that has built nothing. The first Apply finds what a former process with the same prefix left.
func New(o Options) (*Fabric, error) {
	if !plan.ValidName(o.Prefix) || o.Dir == "" {
		return nil, fmt.Errorf("create fabric %q in %q: it needs a prefix that can be a file's name, and a directory", o.Prefix, o.Dir)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("create fabric in %q: %w", o.Dir, err)
	}
	f := &Fabric{
		prefix: o.Prefix,
		dir:    dir,
		nft:    cmp.Or(o.NFT, "nft"),
		log:    o.Logger,
		spaces: map[plan.Key]*live{},
		hubs:   map[hubKey]*hub{},
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.owners.Store(&map[vpc.ID]*plan.Owners{})
	return f, nil
}

// Recover finds the namespaces that a former process with the same prefix left. Apply does it by itself when it has not
// been done; afterwards Namespace knows them.
func (f *Fabric) Recover(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.scan(ctx)
}

// Apply makes the kernel hold what the topology says and nothing else. It may be repeated, and after an error the next
// call starts from what the kernel has.
func (f *Fabric) Apply(ctx context.Context, t vpcsim.Topology) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	want, err := plan.New(t, append([]netip.Addr{EchoAddr}, f.extra...))
	if err != nil {
		return err
	}
	if !f.scanned {
		if err := f.scan(ctx); err != nil {
			return err
		}
	}
	if err := f.apply(ctx, want); err != nil {
		for _, s := range f.spaces {
			s.forget()
		}
		return fmt.Errorf("apply topology revision %d: %w", t.Revision, err)
	}
	return nil
}

func (f *Fabric) apply(ctx context.Context, want *plan.World) error {
	f.want = want
	f.owners.Store(&want.Owners)
	if err := f.observe(); err != nil {
		return err
	}
	if err := f.removeLinks(want); err != nil {
		return err
	}
	if err := f.removeSpaces(want); err != nil {
		return err
	}
	if err := f.createSpaces(ctx, want); err != nil {
		return err
	}
	if err := f.observe(); err != nil {
		return err
	}
	if err := f.createLinks(ctx, want); err != nil {
		return err
	}
	if err := f.observe(); err != nil { // a new link's other end
		return err
	}
	for key, s := range f.spaces {
		if s.h == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.fill(ctx, s, want.Spaces[key]); err != nil {
			return fmt.Errorf("fill namespace of %s %s: %w", key.Kind, key.ID, err)
		}
	}
	if err := f.boot(want); err != nil {
		return err
	}
	if err := f.settle(ctx); err != nil {
		return err
	}
	return f.serveInternet(ctx)
}

// Namespace is the path of an instance's network namespace, empty while there is none.
func (f *Fabric) Namespace(instance vpc.InstanceID) string {
	return f.pathOf(plan.InstanceKey(instance))
}

// InternetNamespace is the path of the internet's namespace, empty while there is none. A route to every public address
// is in it.
func (f *Fabric) InternetNamespace() string { return f.pathOf(plan.InternetKey) }

func (f *Fabric) pathOf(key plan.Key) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.spaces[key]; s != nil {
		return s.path
	}
	return ""
}

// Close removes everything that carries the fabric's prefix, also what a former process left.
func (f *Fabric) Close(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, stop := range f.services {
		errs = append(errs, stop())
	}
	f.services = nil
	for key, h := range f.hubs {
		h.stop()
		delete(f.hubs, key)
	}
	errs = append(errs, f.scan(ctx))
	for key, s := range f.spaces {
		errs = append(errs, s.remove())
		delete(f.spaces, key)
	}
	f.want, f.scanned = nil, false
	f.owners.Store(&map[vpc.ID]*plan.Owners{})
	return errors.Join(errs...)
}

// label is the alias of a namespace's loopback link: it says whose the namespace is.
func (f *Fabric) label(key plan.Key) string {
	return strings.Join([]string{"berth-fabric", f.prefix, string(key.Kind), key.ID}, " ")
}

// scan adopts the namespaces that carry the fabric's label, and removes what a crash left half made.
func (f *Fabric) scan(ctx context.Context) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for namespaces in %s: %w", f.dir, err)
	}
	paths := map[string]bool{}
	for _, s := range f.spaces {
		paths[s.path] = true
	}
	for _, e := range entries {
		path := filepath.Join(f.dir, e.Name())
		if !strings.HasPrefix(e.Name(), f.prefix+"-") || paths[path] {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.adopt(path); err != nil {
			return err
		}
	}
	f.scanned = true
	return nil
}

func (f *Fabric) adopt(path string) error {
	if !isNamespace(path) {
		return removeNamespace(path)
	}
	s, err := openSpace(path)
	if err != nil {
		return err
	}
	alias, err := s.label()
	if err != nil {
		s.close()
		return err
	}
	words := strings.Fields(alias)
	switch {
	case len(words) == 4 && words[0] == "berth-fabric" && words[1] == f.prefix:
		s.key = plan.Key{Kind: plan.Kind(words[2]), ID: words[3]}
	case len(words) > 0:
		s.close()
		return nil // another fabric's
	default:
		s.close()
		return removeNamespace(path) // made, but not yet labelled
	}
	if f.spaces[s.key] != nil {
		s.close()
		return removeNamespace(path)
	}
	if s.key.Kind == plan.KindInstance {
		s.h.Close()
		s.h = nil
	}
	s.adopted = true
	f.spaces[s.key] = s
	f.log.Info("namespace adopted", "kind", string(s.key.Kind), "id", s.key.ID, "why", "a former process left it")
	return nil
}
