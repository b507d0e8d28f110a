package deb

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// errResolve is that apt knows no way to have the packages: names are missing from its lists, or the lists are.
var errResolve = errors.New("apt cannot resolve the packages")

// fetch returns the package files of a set, downloaded unless they are there. The machine's package lists are tried
// first; where they are missing or name files that the archive no longer has, lists of our own are fetched.
func (u *Unpacker) fetch(ctx context.Context, set Set) ([]string, error) {
	for _, d := range []string{"lists/partial", "cache/archives/partial", "files"} {
		if err := os.MkdirAll(filepath.Join(u.Work, d), 0o755); err != nil {
			return nil, fmt.Errorf("make download folder: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(u.Work, "status"), nil, 0o644); err != nil { // nothing is installed there
		return nil, fmt.Errorf("make package state: %w", err)
	}
	files, err := u.download(ctx, set, false)
	if err == nil || ctx.Err() != nil {
		return files, err
	}
	u.say("fetching package lists")
	if out, err := u.apt(ctx, true, "update"); err != nil {
		return nil, fmt.Errorf("fetch package lists: %w: %s", err, lastLines(out))
	}
	return u.download(ctx, set, true)
}

// download resolves the set and downloads what is missing of it.
func (u *Unpacker) download(ctx context.Context, set Set, ownLists bool) ([]string, error) {
	u.say("resolving packages")
	out, err := u.apt(ctx, ownLists, append([]string{"install", "--print-uris", "--yes"}, set.Packages...)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %s", errResolve, err, lastLines(out))
	}
	var files, missing []string
	for _, p := range parseURIs(out) {
		if set.leaves(p.name) {
			continue
		}
		file := filepath.Join(u.Work, "files", p.file)
		files = append(files, file)
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, p.name+"="+p.version)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: it names no file", errResolve)
	}
	const batch = 12 // apt tells nothing while it downloads: batches make the progress
	done := len(files) - len(missing)
	for part := range slices.Chunk(missing, batch) {
		u.say("downloading packages: %d of %d", done, len(files))
		if out, err := u.apt(ctx, ownLists, append([]string{"download"}, part...)...); err != nil {
			return nil, fmt.Errorf("download packages: %w: %s", err, lastLines(out))
		}
		done += len(part)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("find downloaded package: %w", err)
		}
	}
	return files, nil
}

// apt runs apt-get with a package state of our own.
func (u *Unpacker) apt(ctx context.Context, ownLists bool, args ...string) (string, error) {
	options := []string{
		"-q", "-o", "Dir::State::status=" + filepath.Join(u.Work, "status"), "-o", "Dir::Cache=" + filepath.Join(u.Work, "cache"),
		"-o", "APT::Install-Recommends=0", "-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1",
	}
	if ownLists {
		options = append(options, "-o", "Dir::State::lists="+filepath.Join(u.Work, "lists"))
	}
	cmd := exec.CommandContext(ctx, "apt-get", append(options, args...)...)
	cmd.Dir = filepath.Join(u.Work, "files") // where "download" puts them
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Env = append(cmd.Env, u.Proxies...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

type file struct{ name, version, file string }

// parseURIs reads what --print-uris says: 'URI' FILE SIZE HASH, with FILE as NAME_VERSION_ARCH.deb, escaped.
func parseURIs(out string) []file {
	var all []file
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0][0] != '\'' {
			continue
		}
		parts := strings.Split(strings.TrimSuffix(fields[1], ".deb"), "_")
		if len(parts) != 3 {
			continue
		}
		version, err := url.PathUnescape(parts[1])
		if err != nil {
			continue
		}
		all = append(all, file{name: parts[0], version: version, file: fields[1]})
	}
	return all
}

// lastLines is the end of a program's output, for an error.
func lastLines(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}
