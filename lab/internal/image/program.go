package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Program is a dynamically linked program of a root file system, which the image gets at the same path with its loader
// and every library that it needs.
type Program struct {
	// Root is the root file system; empty is the machine's own.
	Root string
	// Path is inside it. Links on the way are followed, and kept as what they lead to.
	Path string
	// Libraries are further files inside the root that it loads by name at run time, each with its own needs; a folder
	// stands for every file in it.
	Libraries []string
	// As is another path for it in the image.
	As string
}

// files are the program and what it needs.
func (p Program) files() ([]File, error) {
	root := p.Root
	if root == "" {
		root = "/"
	}
	c := closure{root: root, seen: map[string]bool{}}
	if err := c.add(p.Path, p.As); err != nil {
		return nil, fmt.Errorf("take %s with its libraries: %w", p.Path, err)
	}
	for _, l := range p.Libraries {
		if err := c.addAll(l); err != nil {
			return nil, fmt.Errorf("take %s with its libraries: %w", p.Path, err)
		}
	}
	return c.files, nil
}

// mergedLinks are the links of a root that has /bin, /lib and so on below /usr: the paths in its programs count on them.
func (p Program) mergedLinks() map[string]string {
	links := map[string]string{}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if to, err := os.Readlink(filepath.Join("/", p.Root, name)); err == nil {
			links["/"+name] = to
		}
	}
	return links
}

// closure follows what programs and libraries need inside a root.
type closure struct {
	root  string
	seen  map[string]bool
	files []File
}

func (c *closure) addAll(at string) error {
	full, err := c.resolve(at)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(full)
	if err != nil { // no folder
		return c.add(at, "")
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := c.add(path.Join(at, e.Name()), ""); err != nil {
			return err
		}
	}
	return nil
}

// add takes a file to a path of the image, then its loader and libraries. Without a path it keeps its own, with the
// links among its folders followed: /lib/x is /usr/lib/x where /lib is a link.
func (c *closure) add(at, as string) error {
	if as == "" {
		dir, err := c.resolve(path.Dir(at))
		if err != nil {
			return err
		}
		if dir, err = filepath.Rel(c.root, dir); err != nil {
			return fmt.Errorf("place %s: %w", at, err)
		}
		as = path.Join("/", dir, path.Base(at))
	}
	if c.seen[as] {
		return nil
	}
	c.seen[as] = true
	full, err := c.resolve(at)
	if err != nil {
		return err
	}
	c.files = append(c.files, File{Path: as, From: full})
	f, err := elf.Open(full)
	if _, ok := errors.AsType[*elf.FormatError](err); ok {
		return nil // a script or data
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", at, err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err != nil {
			return fmt.Errorf("read loader of %s: %w", at, err)
		}
		loader := string(name[:max(0, len(name)-1)])
		if err := c.add(loader, ""); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("read libraries of %s: %w", at, err)
	}
	for _, l := range libraries {
		where, err := c.find(l, f.Machine)
		if err != nil {
			return fmt.Errorf("find what %s needs: %w", at, err)
		}
		if err := c.add(where, ""); err != nil {
			return err
		}
	}
	return nil
}

// find looks where the loader looks without configuration.
func (c *closure) find(library string, machine elf.Machine) (string, error) {
	triplet := map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}[machine]
	for _, dir := range []string{"/lib/" + triplet, "/usr/lib/" + triplet, "/lib64", "/usr/lib64", "/lib", "/usr/lib"} {
		at := path.Join(dir, library)
		if _, err := c.resolve(at); err == nil {
			return at, nil
		}
	}
	return "", fmt.Errorf("library %s: %w", library, fs.ErrNotExist)
}

// resolve follows symbolic links inside the root, where an absolute link starts at the root again.
func (c *closure) resolve(at string) (string, error) {
	parts := split(at)
	done := "/"
	for hops := 0; len(parts) > 0; {
		next := path.Join(done, parts[0])
		parts = parts[1:]
		info, err := os.Lstat(filepath.Join(c.root, next))
		if err != nil {
			return "", fmt.Errorf("find %s in %s: %w", at, c.root, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("find %s in %s: too many links", at, c.root)
		}
		to, err := os.Readlink(filepath.Join(c.root, next))
		if err != nil {
			return "", fmt.Errorf("find %s in %s: %w", at, c.root, err)
		}
		if path.IsAbs(to) {
			done = "/"
		}
		parts = append(split(to), parts...)
	}
	return filepath.Join(c.root, done), nil
}

// split cuts a path into names; ".." stays one, which Join undoes.
func split(p string) []string {
	return strings.FieldsFunc(p, func(r rune) bool { return r == '/' })
}
