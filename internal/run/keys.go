// Package run is the plumbing of a process: logs, metrics, signals and the level-triggered Loop.
package run

// Keys of log attributes: one vocabulary for the whole project.
const (
	KeyPod       = "pod"
	KeyNamespace = "namespace"
	KeyNode      = "node"
	KeyENI       = "eni"
	KeySubnet    = "subnet"
	KeyIP        = "ip"
	KeyPrefix    = "prefix"
	KeyAZ        = "az"
	KeyPolicy    = "policy"
	KeyRule      = "rule"
	KeyAction    = "action"
	KeyWhy       = "why"
	KeyAttempt   = "attempt"
	KeyElapsed   = "elapsed"
	KeyErr       = "err"
)
