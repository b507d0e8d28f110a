// Package layout knows where the lab keeps what it built and unpacked: all of it below one folder of the repository,
// <repo>/.cache, so that removing that folder is removing the lab from the machine.
package layout

import "path/filepath"

// Cache is that folder.
type Cache string

// Bin is the folder of the lab's programs, or a program in it. It has wrappers for the unpacked ones, too.
func (c Cache) Bin(name ...string) string { return c.join("bin", name) }

// CNI is the folder of the plugins that a node image brings.
func (c Cache) CNI() string { return filepath.Join(string(c), "bin", "cni") }

// NodeRoot is the root file system that all nodes share: Debian packages, unpacked.
func (c Cache) NodeRoot(path ...string) string { return c.join(filepath.Join("deb", "node"), path) }

// AWSRoot is where the AWS command line and all that it needs is unpacked.
func (c Cache) AWSRoot(path ...string) string { return c.join(filepath.Join("deb", "aws"), path) }

// CompilerRoot is where the compiler of eBPF objects is unpacked.
func (c Cache) CompilerRoot(path ...string) string {
	return c.join(filepath.Join("deb", "compiler"), path)
}

// Image is the archive of an image by its short name.
func (c Cache) Image(name string) string {
	return filepath.Join(string(c), "images", name+".tar")
}

func (c Cache) join(folder string, path []string) string {
	return filepath.Join(append([]string{string(c), folder}, path...)...)
}
