package agentapi

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// Version is the protocol's version. It grows when a field is added that the other side should know of.
const Version = 1

// MinVersion is the oldest version of the other side that is still understood.
const MinVersion = 1

// SocketPath is where the agent listens.
const SocketPath = "/var/run/aws-node/berth.sock"

// MaxMessage bounds a message in bytes. The longest request is a GC with every attachment of the node.
const MaxMessage = 1 << 20

// How long an answer may take. The agent's own limit comes first, so that the reason of a late answer is its own.
const (
	// AddWait is how long an ADD may wait for an address inside the agent.
	AddWait = 10 * time.Second
	// AddTimeout is how long the plugin waits for the agent's answer to an ADD.
	AddTimeout = AddWait + 2*time.Second
	// DelWait is how long the agent may take for a DEL.
	DelWait = 8 * time.Second
	// DelTimeout is how long the plugin waits for the answer to a DEL before it leaves the request on disk.
	DelTimeout = DelWait + 2*time.Second
	// AskWait is how long the agent may take for every other request.
	AskWait = 4 * time.Second
	// AskTimeout is how long the plugin waits for the answer to one.
	AskTimeout = AskWait + time.Second
)

// Verb says what is asked.
type Verb string

// The verbs: those of the CNI specification, and Report.
const (
	Add    Verb = "ADD"
	Del    Verb = "DEL"
	Check  Verb = "CHECK"
	GC     Verb = "GC"
	Status Verb = "STATUS"
	// Report asks for the node's state as one JSON document, for "berth status".
	Report Verb = "REPORT"
)

// Attachment identifies a pod's interface as the CNI specification does.
type Attachment struct {
	Network     string `json:"network"`
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
}

// String returns the attachment as network/container/interface.
func (a Attachment) String() string { return a.Network + "/" + a.ContainerID + "/" + a.IfName }

// Pod names the pod of an attachment. All of it is empty outside Kubernetes.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

// Request is what the plugin asks.
type Request struct {
	Version int  `json:"version"`
	Verb    Verb `json:"verb"`
	// Plugin is the build of the plugin, for the log.
	Plugin string `json:"plugin,omitempty"`
	// TimeoutMillis is how long the plugin will wait; the agent answers before.
	TimeoutMillis int64 `json:"timeoutMillis,omitempty"`

	Attachment Attachment `json:"attachment,omitzero"`
	Pod        Pod        `json:"pod,omitzero"`
	// CNIVersion is the version of the specification that an ADD's result must have.
	CNIVersion string `json:"cniVersion,omitempty"`
	// Netns is the path of the network namespace in the runtime's words. It is text for logs; the descriptor counts.
	Netns string `json:"netns,omitempty"`
	// Previous is what an earlier ADD answered, as the runtime kept it (DEL and CHECK).
	Previous *Added `json:"previous,omitempty"`
	// Valid lists the attachments that exist (GC); all others of the network are gone.
	Valid []Attachment `json:"valid,omitempty"`
}

// Timeout returns how long the plugin will wait, within limit.
func (r Request) Timeout(limit time.Duration) time.Duration {
	if d := time.Duration(r.TimeoutMillis) * time.Millisecond; d > 0 && d < limit {
		return d
	}
	return limit
}

// Added describes a wired attachment: the facts of a CNI result.
type Added struct {
	Addrs    []netip.Addr `json:"addrs"`
	HostVeth string       `json:"hostVeth,omitempty"`
	HostMAC  string       `json:"hostMAC,omitempty"`
	PodMAC   string       `json:"podMAC,omitempty"`
	// Table is the route table of the interface that the addresses belong to.
	Table int `json:"table,omitempty"`
	// Device is that interface's device index.
	Device int `json:"device,omitempty"`
	MTU    int `json:"mtu,omitempty"`
}

// Reply is what the agent answers. Error is nil on success.
type Reply struct {
	Version int    `json:"version"`
	Agent   string `json:"agent,omitempty"` // build of the agent

	// Result is the result of an ADD as the runtime wants it. The agent makes it: encoders take a tenth of the short life
	// of a plugin to be set up, and the agent has long had them.
	Result json.RawMessage `json:"result,omitempty"`
	Added  *Added          `json:"added,omitempty"` // CHECK
	// Report is the node's state (REPORT).
	Report json.RawMessage `json:"report,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// Error is an error in the words of the CNI specification. Msg says what, which object and why; Details what to do.
type Error struct {
	Code    Code   `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details,omitempty"`
}

// Error implements error.
func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + "; " + e.Details
}

// Errorf makes an Error without details.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// Validate tells whether a request can be served at all. Fields that a verb does not use are not looked at.
func (r Request) Validate() *Error {
	switch {
	case r.Version < MinVersion:
		return &Error{
			Code:    CodeProtocol,
			Msg:     fmt.Sprintf("the plugin speaks version %d of the agent's protocol, the oldest understood is %d", r.Version, MinVersion),
			Details: "replace /opt/cni/bin/aws-cni by the agent's own: restart the aws-node pod of this node",
		}
	case !r.Verb.known():
		return Errorf(CodeProtocol, "the agent does not know the verb %q", r.Verb)
	case r.Verb.needsAttachment() && (r.Attachment.ContainerID == "" || r.Attachment.IfName == ""):
		return Errorf(CodeEnvironment, "%s without container id or interface name", r.Verb)
	case (r.Verb.needsAttachment() || r.Verb == GC) && r.Attachment.Network == "":
		return Errorf(CodeConfig, "%s without a network name", r.Verb)
	}
	return nil
}

func (v Verb) known() bool {
	switch v {
	case Add, Del, Check, GC, Status, Report:
		return true
	}
	return false
}

func (v Verb) needsAttachment() bool { return v == Add || v == Del || v == Check }
