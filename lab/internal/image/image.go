// Package image builds container images as archives without a registry or a builder: one layer, put together from files
// of the machine and written the same way every time, so that equal content has an equal digest. `ctr image import` and
// `docker load` read them.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Spec is an image as asked for.
type Spec struct {
	// Names are references with a tag, such as registry.example/team/app:1.0.
	Names []string
	// Files are put at their path in the image.
	Files []File
	// Dirs are made with mode 755, and with 1777 where the path ends in /tmp.
	Dirs []string
	// Links are symbolic links, by path.
	Links map[string]string
	// Programs are taken with every library that they load.
	Programs []Program
	// Config is how the image runs.
	Config Config
}

// File is a file of the image: the content, or where it is read from.
type File struct {
	Path    string
	From    string
	Content string
	Mode    fs.FileMode // zero is 644, or 755 where From is executable
}

// Config is how an image runs, as image specifications name it.
type Config struct {
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	User       string            `json:"User,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
	ExposedTCP []uint16          `json:"-"`
}

// Write builds the image into an archive file; a file that holds the same image already is not touched.
func Write(spec Spec, file string) error {
	if len(spec.Names) == 0 {
		return fmt.Errorf("build image %s: it has no name", file)
	}
	var layer bytes.Buffer
	if err := writeLayer(spec, &layer); err != nil {
		return fmt.Errorf("build image %s: %w", spec.Names[0], err)
	}
	var archive bytes.Buffer
	if err := writeArchive(spec, layer.Bytes(), &archive); err != nil {
		return fmt.Errorf("build image %s: %w", spec.Names[0], err)
	}
	if have, err := os.ReadFile(file); err == nil && bytes.Equal(have, archive.Bytes()) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("build image %s: %w", spec.Names[0], err)
	}
	partial := file + ".partial"
	if err := os.WriteFile(partial, archive.Bytes(), 0o644); err != nil {
		return fmt.Errorf("build image %s: %w", spec.Names[0], err)
	}
	if err := os.Rename(partial, file); err != nil {
		return fmt.Errorf("build image %s: %w", spec.Names[0], err)
	}
	return nil
}

// entry is one thing in the layer.
type entry struct {
	header tar.Header
	from   string
	text   string
}

// writeLayer writes every entry, parents first, sorted by path and without times and owners.
func writeLayer(spec Spec, w io.Writer) error {
	entries, err := collect(spec)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		e.header.Name = name
		e.header.Format = tar.FormatPAX
		body := []byte(e.text)
		if e.from != "" {
			if body, err = os.ReadFile(e.from); err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
		}
		e.header.Size = int64(len(body))
		if err := t.WriteHeader(&e.header); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := t.Write(body); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write layer: %w", err)
	}
	return nil
}

// collect gathers the entries by their path without the leading slash; directories end in one.
func collect(spec Spec) (map[string]entry, error) {
	all := map[string]entry{}
	for _, d := range spec.Dirs {
		mode := int64(0o755)
		if path.Base(d) == "tmp" {
			mode = 0o1777
		}
		addDirs(all, d)
		all[relative(d)+"/"] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: mode}}
	}
	files := slices.Clone(spec.Files)
	links := maps.Clone(spec.Links)
	if links == nil {
		links = map[string]string{}
	}
	for _, p := range spec.Programs {
		needs, err := p.files()
		if err != nil {
			return nil, err
		}
		files = append(files, needs...)
		maps.Copy(links, p.mergedLinks())
	}
	for _, f := range files {
		if f.Mode == 0 {
			f.Mode = 0o644
			if info, err := os.Stat(f.From); f.From != "" && err == nil && info.Mode()&0o111 != 0 {
				f.Mode = 0o755
			}
		}
		addDirs(all, path.Dir(path.Join("/", f.Path)))
		all[relative(f.Path)] = entry{header: tar.Header{Typeflag: tar.TypeReg, Mode: int64(f.Mode.Perm())}, from: f.From, text: f.Content}
	}
	for at, to := range links {
		addDirs(all, path.Dir(path.Join("/", at)))
		all[relative(at)] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: to}}
	}
	return all, nil
}

func relative(p string) string { return strings.TrimPrefix(path.Join("/", p), "/") }

// addDirs adds a directory and its parents.
func addDirs(all map[string]entry, dir string) {
	for d := relative(dir); d != "" && d != "."; d = path.Dir(d) {
		if _, ok := all[d+"/"]; !ok {
			all[d+"/"] = entry{header: tar.Header{Typeflag: tar.TypeDir, Mode: 0o755}}
		}
		if !strings.Contains(d, "/") {
			return
		}
	}
}

// writeArchive wraps the layer in what the archive format of `docker save` asks for.
func writeArchive(spec Spec, layer []byte, w io.Writer) error {
	type rootfs struct {
		Type  string   `json:"type"`
		Diffs []string `json:"diff_ids"`
	}
	type runConfig struct {
		Config
		ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	}
	ports := map[string]struct{}{}
	for _, p := range spec.Config.ExposedTCP {
		ports[fmt.Sprintf("%d/tcp", p)] = struct{}{}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": runConfig{spec.Config, ports}, "rootfs": rootfs{"layers", []string{"sha256:" + digest(layer)}},
		"history": []map[string]string{{"created": "1970-01-01T00:00:00Z", "created_by": "berth lab"}},
	})
	if err != nil {
		return fmt.Errorf("encode config: %w", err)
	}
	configName, layerName := digest(config)+".json", digest(layer)+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": spec.Names, "Layers": []string{layerName}}})
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	t := tar.NewWriter(w)
	for _, part := range []struct {
		name string
		body []byte
	}{{"manifest.json", manifest}, {configName, config}, {layerName, layer}} {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: part.name, Mode: 0o644, Size: int64(len(part.body))}
		if err := t.WriteHeader(header); err != nil {
			return fmt.Errorf("write %s: %w", part.name, err)
		}
		if _, err := t.Write(part.body); err != nil {
			return fmt.Errorf("write %s: %w", part.name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
