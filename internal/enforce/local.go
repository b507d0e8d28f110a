package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy/compile"
	"github.com/berth-net/berth/internal/run"
)

var errStopped = errors.New("the agent is stopping")

// ErrNoSlot says that there are more pods than the datapath has room for.
var ErrNoSlot = errors.New("the datapath has no room for another pod")

// local is an attachment with what has become of it.
type local struct {
	Attachment
	slot     uint32
	pod      compile.Key // empty: nobody knows yet what the pod is
	asking   bool        // the API server is asked
	attached bool
	reply    chan error // whose ADD waits; nil: nobody's
}

// answer ends the wait of an ADD.
func (l *local) answer(err error) {
	if l.reply != nil {
		l.reply <- err
		l.reply = nil
	}
}

// Admit has packets of an attachment judged by the policies of its pod. It returns once they are, or with the reason why they
// cannot be: then the pod must not start.
func (e *Enforcer) Admit(ctx context.Context, a Attachment) error {
	reply := make(chan error, 1)
	if err := e.ask(ctx, func() { e.begin(a, reply) }); err != nil {
		return err
	}
	select {
	case err := <-reply:
		return err
	case <-e.done:
		return errStopped
	case <-ctx.Done():
	}
	waits := make(chan string, 1)
	if err := e.ask(context.WithoutCancel(ctx), func() { waits <- e.leave(a.ID, reply) }); err != nil {
		return err
	}
	select {
	case why := <-waits:
		return fmt.Errorf("policies of pod %s are not enforced yet, %s: %w", a.name(), why, ctx.Err())
	case <-e.done:
		return errStopped
	}
}

// Sync tells of all attachments that are there, at the start and now and then, and of the host: those that nobody knew are judged like
// others, and what is told of none of them ends.
func (e *Enforcer) Sync(all []Attachment, host Host) {
	e.tell(func() {
		if !e.known.listed[listedLocals] {
			e.takeOver(all, host)
		}
		e.setHost(host)
		there := make(map[string]bool, len(all))
		for _, a := range all {
			there[a.ID] = true
			if e.locals[a.ID] == nil {
				e.begin(a, nil)
			}
		}
		for id, l := range e.locals {
			if !there[id] && l.reply == nil {
				e.release(id)
			}
		}
	})
}

// takeOver keeps the slots that attachments have, and takes policy off interfaces whose pods are gone.
func (e *Enforcer) takeOver(all []Attachment, host Host) {
	has, exits, err := e.ports.Datapath.Attached()
	if err != nil {
		e.log.Error("list interfaces with policy", run.KeyErr, err)
	}
	for _, a := range all {
		if slot, ok := has[a.Ifindex]; ok && int(slot) < len(e.slots) {
			e.slots[slot] = a.ID
		}
		delete(has, a.Ifindex)
	}
	for ifindex := range has {
		e.detach(ifindex)
	}
	for _, ifindex := range exits {
		if !slices.Contains(host.Exits, ifindex) {
			e.detach(ifindex)
		}
	}
	e.known.listed[listedLocals] = true
}

// Release ends what Admit began. An attachment that is not known is success.
func (e *Enforcer) Release(id string) {
	e.tell(func() { e.release(id) })
}

func (e *Enforcer) begin(a Attachment, reply chan error) {
	if was := e.locals[a.ID]; was != nil {
		was.answer(fmt.Errorf("another ADD of pod %s came", a.name()))
		if was.Ifindex == a.Ifindex && slices.Equal(was.Addrs, a.Addrs) && was.UID == a.UID { // asked again
			was.reply = reply
			if was.attached {
				was.answer(nil)
			}
			return
		}
		e.release(a.ID)
	}
	l := &local{Attachment: a, reply: reply}
	slot := slices.Index(e.slots, a.ID)
	if slot < 0 {
		slot = slices.Index(e.slots, "")
	}
	if slot < 0 {
		l.answer(fmt.Errorf("pod %s: %w: %d", a.name(), ErrNoSlot, len(e.slots)))
		return
	}
	l.slot = uint32(slot) //nolint:gosec // as many as Config.Slots at most
	e.slots[slot] = a.ID
	e.locals[a.ID] = l
}

// leave tells why an ADD that waits has no answer, to which nobody listens any more.
func (e *Enforcer) leave(id string, reply chan error) string {
	l := e.locals[id]
	if l == nil || l.reply != reply {
		return "another call has ended it"
	}
	l.reply = nil
	switch missing := e.known.missing(); {
	case len(missing) > 0:
		return "the API server has not told of " + strings.Join(missing, ", ")
	case l.pod == "":
		return "the API server has not told of the pod"
	case e.refused != nil:
		return "the kernel refuses them: " + e.refused.Error()
	}
	return "they are being programmed"
}

func (e *Enforcer) release(id string) {
	l := e.locals[id]
	if l == nil {
		return
	}
	if l.attached {
		if err := e.ports.Datapath.Detach(l.Ifindex); err != nil {
			e.log.Warn("take policy off an interface", run.KeyPod, l.name().String(), run.KeyErr, err)
		}
	}
	l.answer(errors.New("the pod was deleted"))
	delete(e.locals, id)
	e.slots[l.slot] = ""
	if l.pod == "" {
		return
	}
	e.compiler.DeleteLocal(l.slot)
	e.ofPod[l.pod] = slices.DeleteFunc(e.ofPod[l.pod], func(o *local) bool { return o == l })
	if len(e.ofPod[l.pod]) == 0 {
		delete(e.ofPod, l.pod)
	}
	if p, ok := e.known.pods[l.name()]; ok && podKey(p) == l.pod && !p.Ended {
		e.compiler.SetPod(l.pod, e.withLocal(p).Pod) // without the attachment's addresses
	}
}

// admit makes subjects of the attachments whose pods are known, and asks for the others.
func (e *Enforcer) admit() {
	for _, l := range e.locals {
		if l.pod != "" {
			continue
		}
		p, ok := e.known.pods[l.name()]
		switch {
		case ok && l.UID != "" && p.UID == l.UID:
			e.subject(l, p)
		case !l.asking:
			e.askFor(l)
		}
	}
}

// subject has the policies of a pod judge an attachment.
func (e *Enforcer) subject(l *local, p Pod) {
	l.pod = podKey(p)
	e.ofPod[l.pod] = append(e.ofPod[l.pod], l)
	e.compiler.SetPod(l.pod, e.withLocal(p).Pod)
	e.compiler.SetLocal(l.slot, l.pod)
}

// askFor asks the API server for the pod of an attachment.
func (e *Enforcer) askFor(l *local) {
	l.asking = true
	id, who := l.ID, l.name()
	go func() {
		ctx, cancel := context.WithTimeout(e.ctx, askTimeout)
		defer cancel()
		p, err := e.ports.Pods.PodOf(ctx, who.namespace, who.name)
		e.tell(func() { e.told(id, p, err) })
	}()
}

// told takes the answer. What the API server has under the name may be another pod than the one that was attached.
func (e *Enforcer) told(id string, p Pod, err error) {
	l := e.locals[id]
	if l == nil || l.pod != "" {
		return
	}
	l.asking = false
	if err == nil && l.UID != "" && p.UID != l.UID {
		err = fmt.Errorf("the API server has it with UID %s, the runtime with %s", p.UID, l.UID)
	}
	if err != nil {
		if l.reply == nil { // a pod that runs: as long as nobody knows it, it is judged as it was
			return
		}
		l.answer(fmt.Errorf("ask which labels pod %s has: %w", l.name(), err))
		e.release(id)
		return
	}
	e.setPod(p)
	e.subject(l, p)
}

// attach has the datapath judge what has become a subject, and tells whether all is.
func (e *Enforcer) attach() bool {
	all := true
	for _, l := range e.locals {
		if l.pod == "" || l.attached {
			continue
		}
		err := e.ports.Datapath.Attach(l.Ifindex, l.slot, l.reply == nil, l.Addrs...)
		if err != nil {
			e.log.Error("enforce policy on an interface", run.KeyPod, l.name().String(), run.KeyErr, err)
			all = false
		}
		if l.attached = err == nil; l.attached {
			e.settle.add(l.Ifindex)
		}
		l.answer(err)
	}
	return all
}

// failWaiting answers what is open when the loop ends.
func (e *Enforcer) failWaiting() {
	for _, l := range e.locals {
		l.answer(errStopped)
	}
}

// withLocal gives a pod the addresses of its attachments: the API server learns of them later.
func (e *Enforcer) withLocal(p Pod) Pod {
	p.Addrs = slices.Clone(p.Addrs)
	for _, l := range e.ofPod[podKey(p)] {
		for _, a := range l.Addrs {
			if !slices.Contains(p.Addrs, a) {
				p.Addrs = append(p.Addrs, a)
			}
		}
	}
	return p
}

// setPod takes a pod as the API server has it.
func (e *Enforcer) setPod(p Pod) {
	who := name{p.Namespace, p.Name}
	if was, ok := e.known.pods[who]; ok && was.UID != p.UID {
		e.deletePod(was)
	}
	e.known.pods[who] = p
	if p.Ended {
		e.compiler.DeletePod(podKey(p))
		return
	}
	e.compiler.SetPod(podKey(p), e.withLocal(p).Pod)
}

// deletePod takes that a pod is gone, unless another of its name has come. While it is attached, it is judged as it was.
func (e *Enforcer) deletePod(p Pod) {
	who := name{p.Namespace, p.Name}
	if was, ok := e.known.pods[who]; ok && was.UID == p.UID {
		delete(e.known.pods, who)
	}
	e.compiler.DeletePod(podKey(p))
}
