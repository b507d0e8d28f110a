package image

import "github.com/berth-net/berth/lab/internal/layout"

// Names of the images that the lab itself needs.
const (
	// SandboxName is the image of every pod's sandbox.
	SandboxName = "registry.k8s.io/pause:3.10"
	// PauseName is what the walkthrough's Deployment runs.
	PauseName = "public.ecr.aws/eks-distro/kubernetes/pause:3.7"
	// AgnhostName is the end-to-end suites' server and client.
	AgnhostName = "registry.k8s.io/e2e-test-images/agnhost:2.59"
)

// Pause is the image of a program that does nothing, under the names by which the lab asks for it.
func Pause(cache layout.Cache) Spec {
	return Spec{
		Names:  []string{SandboxName, PauseName, "public.ecr.aws/eks-distro/kubernetes/pause:3.10", "registry.k8s.io/pause:3.9"},
		Files:  []File{{Path: "/pause", From: cache.Bin("pause")}},
		Config: Config{Entrypoint: []string{"/pause"}, Env: []string{"PATH=/"}, User: "65535:65535"},
	}
}

// Agnhost is the image of agnhost, with a shell and the few programs that suites run inside it.
func Agnhost(cache layout.Cache) Spec {
	root := cache.NodeRoot()
	spec := Spec{
		Names: []string{AgnhostName},
		Files: []File{
			{Path: "/agnhost", From: cache.Bin("lab-sctp")}, {Path: "/agnhost.upstream", From: cache.Bin("agnhost")}, // the first starts the second
			{Path: "/etc/passwd", Content: "root:x:0:0:root:/:/bin/sh\n"},
		},
		Dirs:   []string{"/tmp", "/usr/sbin"},
		Links:  map[string]string{"/usr/bin/nc": "nc.openbsd", "/usr/bin/sh": "dash"},
		Config: Config{Entrypoint: []string{"/agnhost"}, Cmd: []string{"pause"}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/"}},
	}
	for _, p := range []string{
		"bash", "cat", "curl", "dash", "date", "echo", "grep", "head", "hostname", "ip", "ls", "nc.openbsd", "ping", "ps", "sleep", "ss",
		"timeout", "true", "env", "id", "sed", "wc", "sort", "tail", "test",
	} {
		spec.Programs = append(spec.Programs, Program{Root: root, Path: "/usr/bin/" + p})
	}
	return spec
}
