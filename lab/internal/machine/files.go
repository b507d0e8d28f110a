package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/lab/internal/image"
	"github.com/berth-net/berth/lab/internal/machine/root"
)

// Paths inside the node.
const (
	containerdFile   = "/etc/containerd/config.toml"
	containerdSocket = "/run/containerd/containerd.sock"
	kubeletFile      = "/etc/kubernetes/kubelet.yaml"
	kubeletUser      = "/etc/kubernetes/kubelet.kubeconfig"
	proxyFile        = "/etc/kubernetes/kube-proxy.yaml"
	proxyUser        = "/etc/kubernetes/kube-proxy.kubeconfig"
	authorityFile    = "/etc/kubernetes/pki/ca.crt"
	servingCert      = "/etc/kubernetes/pki/kubelet.crt"
	servingKey       = "/etc/kubernetes/pki/kubelet.key"
)

// proxyHealthPort is where kube-proxy says whether it is well.
const proxyHealthPort = 10256

// rootSpec is the node's root: the shared packages, the lab's programs, and its configuration.
func (m *Machine) rootSpec() (root.Spec, error) {
	c := m.config
	files := map[string]string{
		"/etc/hostname":    c.Name + "\n",
		"/etc/resolv.conf": c.Resolv,
		"/etc/hosts":       strings.Join(append([]string{"127.0.0.1 localhost", fmt.Sprintf("%s %s", c.Addr, c.Name)}, c.Hosts...), "\n") + "\n",
		"/etc/passwd":      "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":       "root:x:0:\nnogroup:x:65534:\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n" +
			"networks: files\nprotocols: files\nservices: files\n",
		"/etc/machine-id": machineID(c.Name) + "\n",
		containerdFile:    containerdConfig(),
		authorityFile:     string(c.Credentials.Authority),
		servingCert:       string(c.Credentials.Serving.Cert),
		servingKey:        string(c.Credentials.Serving.Key),
	}
	for path, marshal := range map[string]func() ([]byte, error){
		kubeletFile: c.kubeletConfig, kubeletUser: c.Credentials.Kubelet.Marshal, proxyUser: c.Credentials.Proxy.Marshal,
	} {
		text, err := marshal()
		if err != nil {
			return root.Spec{}, err
		}
		files[path] = string(text)
	}
	const programs = "/usr/local/bin/"
	return root.Spec{
		Hostname: c.Name,
		Layers:   []string{c.Cache.NodeRoot()},
		Disk:     m.path("disk"),
		Binds: append([]root.Bind{
			{From: c.Cache.Bin("berth-kube"), To: programs + "berth-kube"},
			{From: c.Cache.Bin("kubectl"), To: programs + "kubectl"},
		}, c.Binds...),
		Copies: map[string]string{"/opt/cni/bin": c.Cache.CNI()},
		Files:  files,
		Links:  map[string]string{programs + "kubelet": "berth-kube", programs + "kube-proxy": "berth-kube"},
		Leaves: m.tree.Leaves(),
	}, nil
}

// containerdConfig is that of every node. Without restrict_oom_score_adj runc dies where the lab lacks CAP_SYS_RESOURCE;
// the lab's nodes have no AppArmor of their own.
func containerdConfig() string {
	return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "` + containerdSocket + `"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + image.SandboxName + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  stream_server_address = "127.0.0.1"
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`
}

// kubeletConfig is the kubelet's configuration file. Eviction looks at the machine's disk and memory, which are not the
// node's: only a machine that is nearly full counts.
func (c Config) kubeletConfig() ([]byte, error) {
	type m = map[string]any
	config := m{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": m{
			"anonymous": m{"enabled": false}, "webhook": m{"enabled": true}, "x509": m{"clientCAFile": authorityFile},
		},
		"authorization": m{"mode": "Webhook"},
		"tlsCertFile":   servingCert, "tlsPrivateKeyFile": servingKey,
		"containerRuntimeEndpoint": "unix://" + containerdSocket,
		"cgroupDriver":             "cgroupfs", "cgroupRoot": "/" + c.Cgroup, "failCgroupV1": false, "failSwapOn": false,
		"clusterDomain": "cluster.local", "resolvConf": "/etc/resolv.conf",
		"maxPods": c.MaxPods, "podPidsLimit": 4096, "providerID": c.ProviderID,
		"evictionHard":                m{"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
		"imageGCHighThresholdPercent": 100, // nothing could be pulled again
		"serializeImagePulls":         false, "registryPullQPS": 0, "eventRecordQPS": 0,
		"kubeAPIQPS": 50, "kubeAPIBurst": 100,
		"healthzBindAddress": "127.0.0.1", "healthzPort": 10248,
		"volumePluginDir": "/var/lib/kubelet/volumeplugins",
		"logging":         m{"verbosity": 2},
	}
	if c.ClusterDNS.IsValid() {
		config["clusterDNS"] = []string{c.ClusterDNS.String()}
	}
	maps.Copy(config, c.KubeletOptions)
	return encode(config, "kubelet")
}

// kubeletArgs is its command line: what the configuration file has no field for.
func (m *Machine) kubeletArgs() []string {
	c := m.config
	args := []string{
		"kubelet", "--config=" + kubeletFile, "--kubeconfig=" + kubeletUser, "--hostname-override=" + c.Name, "--node-ip=" + c.Addr.String(),
		"--root-dir=/var/lib/kubelet",
	}
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		labels = append(labels, key+"="+c.Labels[key])
	}
	if len(labels) > 0 {
		args = append(args, "--node-labels="+strings.Join(labels, ","))
	}
	if len(c.Taints) > 0 {
		args = append(args, "--register-with-taints="+strings.Join(c.Taints, ","))
	}
	return args
}

// proxyConfig leaves the connection tracking limits alone: they are the machine's.
func (c Config) proxyConfig() ([]byte, error) {
	type m = map[string]any
	return encode(m{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": string(c.Proxy), "hostnameOverride": c.Name, "bindAddress": "0.0.0.0",
		"clientConnection":   m{"kubeconfig": proxyUser},
		"healthzBindAddress": fmt.Sprintf("0.0.0.0:%d", proxyHealthPort), "metricsBindAddress": "127.0.0.1:10249",
		"conntrack": m{
			"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s", "udpTimeout": "0s", "udpStreamTimeout": "0s",
		},
	}, "kube-proxy")
}

func encode(config map[string]any, of string) ([]byte, error) {
	text, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode configuration of %s: %w", of, err)
	}
	return text, nil
}
