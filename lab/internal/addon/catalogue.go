package addon

import (
	"context"
	"embed"
	"fmt"
	"maps"
	"strings"
)

//go:embed schemas/*.json manifests/*.yaml
var files embed.FS

// Kind is an add-on as offered: the names follow EKS.
type Kind struct {
	Name string
	// Version is the only one that the lab has.
	Version string
	// Schema is the configuration schema, JSON Schema as text.
	Schema string
	// Workloads are what must be rolled out for the add-on to be ACTIVE, as kubectl names them.
	Workloads []string
	// render returns the manifests for configuration values, which have passed the schema, and the role of the add-on's
	// service account, if it has one.
	render func(ctx context.Context, values map[string]any, roleARN string) ([]byte, error)
}

// Sources are what the catalogue's manifests are made of.
type Sources struct {
	Helm Helm
	// CNI are values of the chart on top of which a user's configuration values lie, such as the image and the environment
	// by which the agent finds the cluster.
	CNI map[string]any
	// CoreDNSImage is the image of coredns.
	CoreDNSImage string
	// KubeVersion is the cluster's version, for example v1.35.4.
	KubeVersion string
}

// The versions of the add-ons. vpc-cni says which release of the existing CNI its interfaces agree with.
const (
	cniVersion     = "v1.23.1-berth.1"
	corednsVersion = "v1.14.7-berth.1"
)

// Names of the add-ons.
const (
	CNI       = "vpc-cni"
	CoreDNS   = "coredns"
	KubeProxy = "kube-proxy"
)

// Catalogue returns the add-ons that the lab offers.
func Catalogue(s Sources) ([]Kind, error) {
	kinds := []Kind{
		{
			Name: CNI, Version: cniVersion, Workloads: []string{"daemonset/aws-node"},
			render: func(ctx context.Context, values map[string]any, roleARN string) ([]byte, error) {
				return s.Helm.Template(ctx, merge(merge(s.CNI, webIdentity(roleARN)), values))
			},
		},
		{
			Name: CoreDNS, Version: corednsVersion, Workloads: []string{"deployment/coredns"},
			render: func(_ context.Context, values map[string]any, _ string) ([]byte, error) {
				return renderCoreDNS(s.CoreDNSImage, values)
			},
		},
		{ // Every node runs it as a process, in the mode that the lab was started with.
			Name: KubeProxy, Version: s.KubeVersion + "-berth.1",
			render: func(context.Context, map[string]any, string) ([]byte, error) { return nil, nil },
		},
	}
	for i := range kinds {
		text, err := files.ReadFile("schemas/" + kinds[i].Name + ".json")
		if err != nil {
			return nil, fmt.Errorf("read schema of add-on %s: %w", kinds[i].Name, err)
		}
		kinds[i].Schema = string(text)
	}
	return kinds, nil
}

func renderCoreDNS(image string, values map[string]any) ([]byte, error) {
	text, err := files.ReadFile("manifests/coredns.yaml")
	if err != nil {
		return nil, fmt.Errorf("read manifest of coredns: %w", err)
	}
	out := strings.ReplaceAll(string(text), "COREDNS_IMAGE", image)
	if n, ok := values["replicaCount"].(float64); ok {
		out = strings.ReplaceAll(out, "replicas: 2", fmt.Sprintf("replicas: %d", int(n)))
	}
	return []byte(out), nil
}

// webIdentity is what EKS's webhook adds to the pods of a service account that has a role: a token for STS, and the
// variables by which every SDK finds it.
func webIdentity(roleARN string) map[string]any {
	if roleARN == "" {
		return nil
	}
	type m = map[string]any
	const folder = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
	return m{
		"serviceAccount": m{"annotations": m{"eks.amazonaws.com/role-arn": roleARN}},
		"extraEnv": []any{
			m{"name": "AWS_ROLE_ARN", "value": roleARN},
			m{"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": folder + "/token"},
		},
		"extraVolumes": []any{m{"name": "aws-iam-token", "projected": m{"sources": []any{
			m{"serviceAccountToken": m{"audience": "sts.amazonaws.com", "expirationSeconds": 86400, "path": "token"}},
		}}}},
		"extraVolumeMounts": []any{m{"name": "aws-iam-token", "mountPath": folder, "readOnly": true}},
	}
}

// merge lays over on top of base, mapping by mapping, list after list, and changes neither.
func merge(base, over map[string]any) map[string]any {
	out := make(map[string]any, len(base)+len(over))
	maps.Copy(out, base)
	for k, v := range over {
		switch above := v.(type) {
		case map[string]any:
			if below, ok := out[k].(map[string]any); ok {
				v = merge(below, above)
			}
		case []any:
			if below, ok := out[k].([]any); ok && strings.HasPrefix(k, "extra") {
				v = append(append([]any{}, below...), above...)
			}
		}
		out[k] = v
	}
	return out
}
