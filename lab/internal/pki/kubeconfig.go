package pki

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// Kubeconfig is a file with which one user reaches one API server. Everything is inside it, no path.
type Kubeconfig struct {
	Cluster   string
	Server    string // https://...
	Authority []byte
	User      string
	Pair      Pair
}

// Marshal is the file's text.
func (k Kubeconfig) Marshal() ([]byte, error) {
	type m = map[string]any
	text, err := yaml.Marshal(m{
		"apiVersion": "v1", "kind": "Config", "current-context": k.Cluster,
		"clusters": []m{{"name": k.Cluster, "cluster": m{"server": k.Server, "certificate-authority-data": k.Authority}}},
		"users":    []m{{"name": k.User, "user": m{"client-certificate-data": k.Pair.Cert, "client-key-data": k.Pair.Key}}},
		"contexts": []m{{"name": k.Cluster, "context": m{"cluster": k.Cluster, "user": k.User}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode kubeconfig of %s: %w", k.User, err)
	}
	return text, nil
}

// Write puts the file at path.
func (k Kubeconfig) Write(path string) error {
	text, err := k.Marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder of kubeconfig: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig of %s: %w", k.User, err)
	}
	return nil
}
