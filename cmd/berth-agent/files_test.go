package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConflist(t *testing.T) {
	c, _, err := readConfig(env("POD_MTU=8500", "ENABLE_BANDWIDTH_PLUGIN=true", "DISABLE_POD_V6=true"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := conflist(c)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "cniVersion": "1.0.0",
  "cniVersions": [
    "0.4.0",
    "1.0.0",
    "1.1.0"
  ],
  "name": "aws-cni",
  "disableCheck": true,
  "plugins": [
    {
      "name": "aws-cni",
      "type": "aws-cni",
      "vethPrefix": "eni",
      "mtu": "8500",
      "podSGEnforcingMode": "strict",
      "pluginLogFile": "/var/log/aws-routed-eni/plugin.log",
      "pluginLogLevel": "DEBUG",
      "capabilities": {
        "io.kubernetes.cri.pod-annotations": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      },
      "snat": true
    },
    {
      "type": "bandwidth",
      "capabilities": {
        "bandwidth": true
      }
    },
    {
      "type": "tuning",
      "sysctl": {
        "net.ipv6.conf.all.disable_ipv6": "1",
        "net.ipv6.conf.default.disable_ipv6": "1",
        "net.ipv6.conf.lo.disable_ipv6": "1"
      }
    }
  ]
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list, err := libcni.ConfListFromBytes(got)
	if err != nil || list.CNIVersion != "1.1.0" || len(list.Plugins) != 4 {
		t.Errorf("libcni reads %+v, %v", list, err)
	}
}

// The configuration appears only when the node can serve pods, and is put back when somebody removes it.
func TestInstallConf(t *testing.T) {
	dir := t.TempDir()
	plugin := filepath.Join(dir, "image", "berth-cni")
	write(t, plugin, "version 1")
	c, _, err := readConfig(env("HOST_CNI_BIN_PATH="+filepath.Join(dir, "bin"), "HOST_CNI_CONFDIR_PATH="+filepath.Join(dir, "conf")))
	if err != nil {
		t.Fatal(err)
	}
	conf, installed := filepath.Join(dir, "conf", "10-aws.conflist"), filepath.Join(dir, "bin", "aws-cni")
	write(t, conf, "of an older version")
	write(t, installed, "version 0")
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- installConf(c, plugin, ready, slog.New(slog.DiscardHandler))(ctx) }()
		synctest.Wait()
		if read(t, conf) != "of an older version" {
			t.Error("written before the node is ready")
		}
		close(ready)
		synctest.Wait()
		if !strings.Contains(read(t, conf), `"type": "aws-cni"`) || read(t, installed) != "version 1" {
			t.Error("not installed")
		}
		if err := os.Remove(conf); err != nil {
			t.Fatal(err)
		}
		advance(confEvery)
		if !strings.Contains(read(t, conf), `"type": "aws-cni"`) {
			t.Error("not put back")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	info, err := os.Stat(installed)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, d := range []string{"bin", "conf"} {
		files, err := os.ReadDir(filepath.Join(dir, d))
		if err != nil || len(files) != 1 {
			t.Errorf("%s holds %v, %v", d, files, err)
		}
	}
}

func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	big := strings.Repeat("0123456789", 20_000)
	write(t, from, big)
	for _, tt := range []struct {
		name, before string
		want         bool
	}{{"longer", big + "x", true}, {"same length", big[:len(big)-1] + "x", true}, {"the same", big, false}} {
		write(t, to, tt.before)
		changed, err := copyFile(from, to)
		if err != nil || changed != tt.want || read(t, to) != big {
			t.Errorf("%s: changed %t, %v", tt.name, changed, err)
		}
	}
	if _, err := copyFile(filepath.Join(dir, "missing"), to); err == nil {
		t.Error("copied what is not there")
	}
}

func TestInitialize(t *testing.T) {
	imds(t)
	dir := t.TempDir()
	p := initPaths{plugins: filepath.Join(dir, "plugins"), procSys: filepath.Join(dir, "sys"), sysClass: filepath.Join(dir, "class")}
	write(t, filepath.Join(p.plugins, "portmap"), "portmap")
	write(t, filepath.Join(p.plugins, "loopback"), "loopback")
	write(t, filepath.Join(p.sysClass, "lo", "address"), "00:00:00:00:00:00\n")
	write(t, filepath.Join(p.sysClass, "ens5", "address"), "02:aa:00:00:00:01\n")
	write(t, filepath.Join(p.procSys, "net/ipv4/conf/ens5/rp_filter"), "1\n")
	write(t, filepath.Join(p.procSys, "net/ipv4/tcp_early_demux"), "1\n")
	c, _, err := readConfig(env("HOST_CNI_BIN_PATH="+filepath.Join(dir, "bin"), "DISABLE_TCP_EARLY_DEMUX=true"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := initialize(t.Context(), c, p, &out); err != nil {
		t.Fatal(err)
	}
	if read(t, filepath.Join(p.procSys, "net/ipv4/conf/ens5/rp_filter")) != "2" || read(t, filepath.Join(p.procSys, "net/ipv4/tcp_early_demux")) != "0" {
		t.Errorf("kernel settings are not set:\n%s", out.String())
	}
	if read(t, filepath.Join(dir, "bin", "portmap")) != "portmap" || read(t, filepath.Join(dir, "bin", "loopback")) != "loopback" {
		t.Error("plugins are not installed")
	}
	if err := os.Remove(filepath.Join(p.procSys, "net/ipv4/tcp_early_demux")); err != nil {
		t.Fatal(err)
	}
	if err := initialize(t.Context(), c, p, &out); err != nil {
		t.Errorf("a kernel without tcp_early_demux: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(p.sysClass, "ens5")); err != nil {
		t.Fatal(err)
	}
	if err := initialize(t.Context(), c, p, &out); err == nil || !strings.Contains(err.Error(), "02:aa:00:00:00:01") {
		t.Errorf("without the primary interface: %v", err)
	}
}

// imds serves the little that an instance needs to know itself.
func imds(t *testing.T) {
	t.Helper()
	mac := "/latest/meta-data/network/interfaces/macs/02:aa:00:00:00:01/"
	tree := map[string]string{
		"/latest/meta-data/mac": "02:aa:00:00:00:01", mac + "vpc-id": "vpc-1", mac + "subnet-id": "subnet-1", mac + "interface-id": "eni-1",
		mac + "local-ipv4s": "10.0.0.5", mac + "vpc-ipv4-cidr-blocks": "10.0.0.0/24", mac + "security-group-ids": "sg-1",
		"/latest/dynamic/instance-identity/document": `{"region":"us-west-2","availabilityZone":"us-west-2a","instanceId":"i-1","instanceType":"m5.large"}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
			fmt.Fprint(w, "token")
			return
		}
		v, ok := tree[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, v)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  lookup
		text string
	}{
		{"unknown command", []string{"fly"}, env(), "unknown command"},
		{"unknown flag", []string{"-fly"}, env(), "not defined"},
		{"bad setting", nil, env("ENABLE_IPv6=true"), `ENABLE_IPv6="true": IPv6 addressing does not exist yet; allowed: false`},
		{"probe without agent", []string{"probe", "-socket", filepath.Join(t.TempDir(), "none")}, env(), "ask the agent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			if code := runMain(tt.args, tt.env, &out, &errOut); code != 1 || !strings.Contains(errOut.String(), tt.text) {
				t.Errorf("exit %d, %q; want %q", code, errOut.String(), tt.text)
			}
		})
	}
	var out bytes.Buffer
	if code := runMain([]string{"version"}, env(), &out, &out); code != 0 || out.Len() == 0 {
		t.Errorf("version: %d, %q", code, out.String())
	}
}

func TestSettingsPage(t *testing.T) {
	all := settings(env("WARM_IP_TARGET=3", "MAX_ENI=x"))
	page := settingsPage(all, groupPool)
	if page["WARM_IP_TARGET"] != "3" || page["MAX_ENI"] != "-1" || page["WARM_ENI_TARGET"] != "" || page["POD_MTU"] != "" {
		t.Errorf("page %v", page)
	}
	if data, err := json.Marshal(all); err != nil || !strings.Contains(string(data), `{"name":"WARM_IP_TARGET","value":"3","set":true}`) {
		t.Errorf("%s, %v", data, err)
	}
}
