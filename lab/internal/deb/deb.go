// Package deb unpacks Debian packages, with everything that they depend on down to the C library, into a folder of its
// own. Nothing is installed: the machine's package state is neither read nor written, so what is unpacked is the same
// whatever the machine has, and a user's own containerd or Docker stays as it is. Which archive the packages come from
// is the machine's own apt configuration.
package deb

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Set is a root to be unpacked.
type Set struct {
	// Packages are asked for by name; what they depend on comes along.
	Packages []string
	// Without are packages that a dependency names but that only matter to an installed system. A * at the end
	// stands for any rest.
	Without []string
	// Links are symbolic links that an installation would have made.
	Links map[string]string
}

// Node is the root of a lab node.
func Node() Set {
	links := map[string]string{"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils", "etc/mtab": "../proc/self/mounts"}
	for _, family := range []string{"iptables", "ip6tables"} { // as update-alternatives decides on Debian 12
		for _, suffix := range []string{"", "-save", "-restore"} {
			links["usr/sbin/"+family+suffix] = "xtables-nft-multi"
		}
	}
	return Set{
		Packages: []string{
			"base-files", "bash", "ca-certificates", "conntrack", "containerd", "coreutils", "curl", "dash", "debianutils",
			"ethtool", "findutils", "grep", "hostname", "ipset", "iproute2", "iptables", "iputils-ping", "less", "mawk",
			"mount", "netbase", "netcat-openbsd", "nftables", "procps", "runc", "sed", "tcpdump", "util-linux",
		},
		Without: []string{
			"adduser", "debconf*", "dpkg", "gcc-*-base", "init-system-helpers", "libfile-find-rule-perl", "libmodule-find-perl",
			"libmodule-scandeps-perl", "libnumber-compare-perl", "libperl*", "libproc-processtable-perl",
			"libsort-naturally-perl", "libterm-readkey-perl", "libtext-glob-perl", "needrestart", "openssl", "passwd", "perl*",
			"sensible-utils", "ucf",
		},
		Links: links,
	}
}

// AWS is the AWS command line, run by its own Python.
func AWS() Set {
	return Set{
		Packages: []string{"awscli"},
		Without: []string{
			"adduser", "debconf*", "dpkg", "gcc-*-base", "groff-base", "libdb*", "media-types", "perl*", "sed", "sensible-utils",
			"tar", "ucf",
		},
	}
}

// Compiler is what makes eBPF objects: the clang that internal/bpf names. Headers and libraries for programs of the machine's own
// kind are left out.
func Compiler() Set {
	return Set{
		Packages: []string{"clang-19", "llvm-19"},
		Without: []string{
			"binutils*", "debconf*", "dpkg", "gcc-*-base", "libc6-dev", "libc-dev-bin", "libclang-common-19-dev", "libclang-rt-19-dev",
			"libgcc-12-dev", "libobjc-12-dev", "libpython3*", "libstdc++-12-dev", "linux-libc-dev", "media-types", "perl*", "python3*",
			"sensible-utils",
		},
	}
}

// Unpacker unpacks sets below a cache folder.
type Unpacker struct {
	// Work is a folder for downloads and, where the machine's are missing or stale, package lists.
	Work string
	// Proxies are settings like http_proxy=... that apt gets to see.
	Proxies []string
	// Progress is told what happens, one short line at a time. Nil is silence.
	Progress func(line string)
}

const stampFile = ".berth-unpacked"

// Unpack makes root hold the set, and reports whether it had to. A root that holds the same set already is left alone.
func (u *Unpacker) Unpack(ctx context.Context, set Set, root string) (fresh bool, err error) {
	want := set.fingerprint()
	if have, err := os.ReadFile(filepath.Join(root, stampFile)); err == nil && string(have) == want {
		return false, nil
	}
	files, err := u.fetch(ctx, set)
	if err != nil {
		return false, fmt.Errorf("fetch packages of %s: %w", filepath.Base(root), err)
	}
	partial := root + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return false, fmt.Errorf("clear %s: %w", partial, err)
	}
	if err := skeleton(partial); err != nil {
		return false, err
	}
	for i, file := range files {
		u.say("unpacking %s: package %d of %d", filepath.Base(root), i+1, len(files))
		if err := extract(ctx, file, partial); err != nil {
			return false, err
		}
	}
	for path, to := range set.Links {
		full := filepath.Join(partial, path)
		if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("replace link %s: %w", path, err)
		}
		if err := os.Symlink(to, full); err != nil {
			return false, fmt.Errorf("link %s: %w", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join(partial, stampFile), []byte(want), 0o644); err != nil {
		return false, fmt.Errorf("stamp %s: %w", root, err)
	}
	// A lab that runs has the old root below its nodes: it is put aside, and removed when the next one comes.
	if err := os.RemoveAll(root + ".old"); err != nil {
		return false, fmt.Errorf("clear %s: %w", root+".old", err)
	}
	if err := os.Rename(root, root+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("put %s aside: %w", root, err)
	}
	if err := os.Rename(partial, root); err != nil {
		return false, fmt.Errorf("put %s in place: %w", root, err)
	}
	return true, nil
}

func (u *Unpacker) say(format string, args ...any) {
	if u.Progress != nil {
		u.Progress(fmt.Sprintf(format, args...))
	}
}

// fingerprint changes when the set does; "1" counts changes of how sets are unpacked.
func (s Set) fingerprint() string {
	h := sha256.New()
	_, _ = fmt.Fprint(h, "1", s.Packages, s.Without, s.Links) // maps print in the order of their keys
	return fmt.Sprintf("%x\n", h.Sum(nil))
}

// leaves reports whether a package is one to leave out.
func (s Set) leaves(name string) bool {
	return slices.ContainsFunc(s.Without, func(pattern string) bool {
		ok, err := filepath.Match(pattern, name)
		return err == nil && ok
	})
}

// skeleton makes the links of a merged /usr before anything is unpacked: packages of Debian 12 still have files in /lib
// and /sbin, which belong below /usr.
func skeleton(root string) error {
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			return fmt.Errorf("make %s: %w", root, err)
		}
		if err := os.Symlink(filepath.Join("usr", d), filepath.Join(root, d)); err != nil {
			return fmt.Errorf("make %s: %w", root, err)
		}
	}
	for _, d := range []string{"etc", "usr/sbin", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return fmt.Errorf("make %s: %w", root, err)
		}
	}
	return nil
}

// extract unpacks one package file. tar rather than dpkg -x, which would replace the links of a merged /usr.
func extract(ctx context.Context, file, root string) error {
	pipe, feed := io.Pipe()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var said strings.Builder
		open := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
		open.Stdout, open.Stderr = feed, &said
		err := open.Run()
		_ = feed.CloseWithError(err)
		if err != nil {
			return fmt.Errorf("open package %s: %w: %s", filepath.Base(file), err, said.String())
		}
		return nil
	})
	group.Go(func() error {
		unpack := exec.CommandContext(ctx, "tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", root, "-f", "-",
			"--exclude=./usr/share/doc", "--exclude=./usr/share/man", "--exclude=./usr/share/locale")
		unpack.Stdin = pipe
		out, err := unpack.CombinedOutput()
		_ = pipe.CloseWithError(err)
		if err != nil {
			return fmt.Errorf("unpack package %s: %w: %s", filepath.Base(file), err, out)
		}
		return nil
	})
	return group.Wait()
}
