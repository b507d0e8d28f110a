// Package agentapi is the protocol between the CNI plugin, which the container runtime starts for every pod, and the
// node's agent: one JSON request and one JSON reply per connection on a unix socket.
//
//	plugin                                            agent
//	  connect /var/run/aws-node/berth.sock  ------>  peer credentials: root only
//	  length, Request, netns descriptor     ------>  Handler
//	  length, Reply                         <------
//
// A message is its length (four bytes, big endian, at most MaxMessage) followed by one JSON object. The descriptor of
// the pod's network namespace travels with the first bytes (SCM_RIGHTS), so the agent needs no path to it.
//
// Fields are only ever added, and unknown ones are ignored: a plugin and an agent one version apart understand each
// other. The package must stay small: the plugin links it, so it imports the standard library only. The agent's side is
// in the sub-package server, requests that wait for an agent that is down are in queue.
package agentapi
