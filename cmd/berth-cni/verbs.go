package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/berth-net/berth/internal/agentapi"
	"github.com/berth-net/berth/internal/agentapi/cniresult"
	"github.com/berth-net/berth/internal/agentapi/queue"
	"github.com/berth-net/berth/internal/run"
)

// plugin answers the verbs of the CNI specification.
type plugin struct {
	build string
}

const agentDownHint = "pods that run are not affected, and the runtime tries again by itself; " +
	"look at the agent: kubectl -n kube-system get pods -l k8s-app=aws-node -o wide"

const gcHint = "nothing was collected; the list is the container runtime's to send: look at its log and version"

func (p plugin) client(c conf) agentapi.Client {
	return agentapi.Client{Socket: c.Socket, Build: p.build}
}

func (p plugin) add(c conf, args *skel.CmdArgs, log *slog.Logger) error {
	req, err := request(c, args)
	if err != nil {
		return err
	}
	netns, err := os.Open(args.Netns)
	if err != nil {
		return cniError(agentapi.CodeEnvironment, fmt.Sprintf("%s: open the network namespace CNI_NETNS: %v", subject(req), err), "")
	}
	defer func() { _ = netns.Close() }()
	req.Verb = agentapi.Add
	reply, err := p.client(c).Do(req, netns, agentapi.AddTimeout)
	if err != nil {
		return answerError(req, err, agentapi.CodeTryAgainLater)
	}
	if len(reply.Result) == 0 {
		return noAnswer(req)
	}
	log.Info("added", "result", string(reply.Result))
	var result bytes.Buffer // people read it, too
	err = json.Indent(&result, reply.Result, "", "    ")
	if err == nil {
		_, err = result.WriteTo(os.Stdout)
	}
	if err != nil {
		return cniError(agentapi.CodeIO, fmt.Sprintf("%s: write the result: %v", subject(req), err), "")
	}
	return nil
}

// del succeeds once the agent has removed the attachment, or the request is safe on disk because no agent answers.
func (p plugin) del(c conf, args *skel.CmdArgs, log *slog.Logger) error {
	req, err := request(c, args)
	if err != nil {
		return err
	}
	req.Verb = agentapi.Del
	if len(c.PrevResult) > 0 {
		if previous, err := previousOf(c, req); err != nil {
			log.Warn("going on without prevResult", run.KeyErr, err)
		} else {
			req.Previous = &previous
		}
	}
	_, err = p.client(c).Do(req, nil, agentapi.DelTimeout)
	if _, down := errors.AsType[*agentapi.UnreachableError](err); down {
		log.Warn("leaving the request on disk for the agent", run.KeyErr, err)
		return p.queueDel(c, req)
	}
	if err != nil {
		return answerError(req, err, agentapi.CodeTryAgainLater)
	}
	log.Info("deleted")
	return nil
}

// queueDel stores the request and asks once more: an agent that began to listen in between may have read the queue before
// the request was in it. Only the agent takes it out again, since its success may mean that it, too, left it there.
func (p plugin) queueDel(c conf, req agentapi.Request) error {
	q := queue.New(c.Queue)
	req.Version, req.Plugin = agentapi.Version, p.build
	if err := q.Put(req, time.Now()); err != nil {
		return cniError(agentapi.CodeIO, fmt.Sprintf("%s: the agent does not answer and the request cannot be left on disk: %v", subject(req), err), agentDownHint)
	}
	_, _ = p.client(c).Do(req, nil, time.Second)
	return nil
}

// check compares what the runtime kept with what the agent knows; the agent looks at the kernel.
func (p plugin) check(c conf, args *skel.CmdArgs, log *slog.Logger) error {
	req, err := request(c, args)
	if err != nil {
		return err
	}
	previous, err := previousOf(c, req)
	if err != nil {
		return err
	}
	netns, err := os.Open(args.Netns)
	if err != nil {
		return cniError(agentapi.CodeEnvironment, fmt.Sprintf("%s: open the network namespace CNI_NETNS: %v", subject(req), err), "")
	}
	defer func() { _ = netns.Close() }()
	req.Verb, req.Previous = agentapi.Check, &previous
	reply, err := p.client(c).Do(req, netns, agentapi.AskTimeout)
	if err != nil {
		return answerError(req, err, agentapi.CodeTryAgainLater)
	}
	if reply.Added == nil {
		return noAnswer(req)
	}
	if err := compare(req, previous, *reply.Added); err != nil {
		return err
	}
	log.Debug("checked")
	return nil
}

func compare(req agentapi.Request, have, want agentapi.Added) error {
	mismatch := func(what string, have, want any) error {
		return cniError(agentapi.CodeMismatch, fmt.Sprintf("%s: the runtime was told %s %v, the agent has %v", subject(req), what, have, want),
			"delete the pod; its replacement is wired anew")
	}
	if sorted := slices.SortedFunc(slices.Values(have.Addrs), netip.Addr.Compare); !slices.Equal(sorted, slices.SortedFunc(slices.Values(want.Addrs), netip.Addr.Compare)) {
		return mismatch("addresses", have.Addrs, want.Addrs)
	}
	if have.HostVeth != want.HostVeth {
		return mismatch("host interface", have.HostVeth, want.HostVeth)
	}
	if have.Table != want.Table {
		return mismatch("route table", have.Table, want.Table)
	}
	return nil
}

// gc tells the agent which attachments exist.
func (p plugin) gc(c conf, _ *skel.CmdArgs, log *slog.Logger) error {
	req := agentapi.Request{Verb: agentapi.GC, Attachment: agentapi.Attachment{Network: c.Name}}
	if len(c.Valid) == 0 { // an empty list is another matter: there, everything is garbage
		return cniError(agentapi.CodeConfig, "GC of network "+c.Name+" came without cni.dev/valid-attachments", gcHint)
	}
	var valid []types.GCAttachment
	if err := json.Unmarshal(c.Valid, &valid); err != nil {
		return cniError(agentapi.CodeDecode, "cni.dev/valid-attachments is not understood: "+err.Error(), gcHint)
	}
	for _, a := range valid {
		req.Valid = append(req.Valid, agentapi.Attachment{Network: c.Name, ContainerID: a.ContainerID, IfName: a.IfName})
	}
	if _, err := p.client(c).Do(req, nil, agentapi.AskTimeout); err != nil {
		return answerError(req, err, agentapi.CodeTryAgainLater)
	}
	log.Info("collected garbage", "valid", len(req.Valid))
	return nil
}

// status tells whether an ADD would succeed.
func (p plugin) status(c conf, _ *skel.CmdArgs, _ *slog.Logger) error {
	req := agentapi.Request{Verb: agentapi.Status, Attachment: agentapi.Attachment{Network: c.Name}}
	if _, err := p.client(c).Do(req, nil, agentapi.AskTimeout); err != nil {
		return answerError(req, err, agentapi.CodeNotAvailable)
	}
	return nil
}

// answerError turns an error of the client into one of the specification; whenDown is the code for an agent that does
// not answer.
func answerError(req agentapi.Request, err error, whenDown agentapi.Code) error {
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		return cniError(e.Code, e.Msg, e.Details)
	}
	what := "network " + req.Attachment.Network
	if req.Attachment.ContainerID != "" {
		what = subject(req)
	}
	return cniError(whenDown, fmt.Sprintf("%s: the node's agent (aws-node) does not answer: %v", what, err), agentDownHint)
}

// previousOf reads the result of the ADD, which the runtime kept.
func previousOf(c conf, req agentapi.Request) (agentapi.Added, error) {
	previous, err := cniresult.Parse(c.CNIVersion, req.Attachment.IfName, c.PrevResult)
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		return previous, cniError(e.Code, subject(req)+": "+e.Msg, e.Details)
	}
	return previous, err
}

func noAnswer(req agentapi.Request) error {
	return cniError(agentapi.CodeProtocol, subject(req)+": the agent's answer has no result",
		"plugin and agent are of different versions: restart the node's aws-node pod, it installs its own plugin")
}
