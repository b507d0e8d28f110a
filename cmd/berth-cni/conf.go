package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/queue"
)

// conf is the network configuration on standard input. What else is in it (mtu, vethPrefix …) is for the agent, which
// wrote the file, or for other versions of the plugin.
type conf struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	LogFile    string `json:"pluginLogFile"`
	LogLevel   string `json:"pluginLogLevel"`
	// Socket and Queue are only set where several nodes share a file system.
	Socket     string          `json:"berth.socket"`
	Queue      string          `json:"berth.queue"`
	PrevResult json.RawMessage `json:"prevResult"`
	Valid      json.RawMessage `json:"cni.dev/valid-attachments"` // of GC alone
}

// parseConf reads a configuration. With an error comes what could be read of it: it says where to log the error.
func parseConf(stdin []byte) (conf, error) {
	var c conf
	if err := json.Unmarshal(stdin, &c); err != nil {
		return c, cniError(agentapi.CodeDecode, "the network configuration on standard input is not understood: "+err.Error(),
			"validate /etc/cni/net.d/10-aws.conflist; the agent writes it anew when it is deleted")
	}
	if c.Socket == "" {
		c.Socket = agentapi.SocketPath
	}
	if c.Queue == "" {
		c.Queue = queue.Dir
	}
	return c, nil
}

// parseArgs reads CNI_ARGS, "key=value;key=value", of which only the pod's names count.
func parseArgs(args string) (agentapi.Pod, error) {
	var pod agentapi.Pod
	if args == "" {
		return pod, nil
	}
	for pair := range strings.SplitSeq(args, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return agentapi.Pod{}, cniError(agentapi.CodeEnvironment, fmt.Sprintf("CNI_ARGS has %q, want KEY=VALUE pairs separated by semicolons", pair), "")
		}
		switch key {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Name = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	return pod, nil
}

// request reads what came with a call about an attachment.
func request(c conf, args *skel.CmdArgs) (agentapi.Request, error) {
	pod, err := parseArgs(args.Args)
	if err != nil {
		return agentapi.Request{}, err
	}
	return agentapi.Request{
		Attachment: agentapi.Attachment{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName},
		Pod:        pod,
		CNIVersion: c.CNIVersion,
		Netns:      args.Netns,
	}, nil
}

// subject names what a message is about: the pod, or the container outside Kubernetes.
func subject(req agentapi.Request) string {
	if req.Pod.Name == "" {
		return "container " + req.Attachment.ContainerID
	}
	return "pod " + req.Pod.Namespace + "/" + req.Pod.Name
}

func cniError(code agentapi.Code, msg, details string) *types.Error {
	return types.NewError(uint(code), msg, details)
}
