package enforcement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/bpf"
	"github.com/berth-net/berth/internal/core/policy"
	"github.com/berth-net/berth/internal/enforce"
	"github.com/berth-net/berth/internal/run"
)

// Values of Options.EventLogs.
const (
	LogNothing = "none"
	LogDenied  = "denied"
	LogAll     = "all"
)

// flowsAtOnce are how many flows are named at a time; those that wait stay in the kernel's buffer, which counts what it loses.
const flowsAtOnce = 512

// logFlows writes the flow log until ctx ends.
func (e *Enforcement) logFlows(ctx context.Context) error {
	out, err := run.OpenRotating(e.options.EventLogFile)
	if err != nil {
		return fmt.Errorf("open the log of network policy: %w", err)
	}
	events, err := e.datapath.Events()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	flows := make(chan enforce.Flow, flowsAtOnce)
	stop := context.AfterFunc(ctx, func() { _ = events.Close() })
	defer stop()
	go e.readFlows(events, flows)
	e.writeFlows(ctx, flows, out)
	_ = events.Close() // ends readFlows; what it waits to send is drained
	for range flows {
	}
	return out.Close()
}

// readFlows reads until the events are closed.
func (e *Enforcement) readFlows(events *bpf.Events, flows chan<- enforce.Flow) {
	defer close(flows)
	for {
		event, err := events.Read()
		switch {
		case errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			e.options.Log.Warn("read the log of network policy", run.KeyErr, err)
			return
		}
		flows <- flowOf(event)
	}
}

func (e *Enforcement) writeFlows(ctx context.Context, flows <-chan enforce.Flow, out io.Writer) {
	for {
		var batch []enforce.Flow
		select {
		case f, ok := <-flows:
			if !ok {
				return
			}
			batch = append(batch, f)
		case <-ctx.Done():
			return
		}
		for more := true; more && len(batch) < flowsAtOnce; {
			select {
			case f, ok := <-flows:
				if more = ok; ok {
					batch = append(batch, f)
				}
			default:
				more = false
			}
		}
		lines, err := e.loop.Describe(ctx, batch)
		if err != nil {
			return // the loop has ended, and so does the agent
		}
		if err := writeLines(out, lines); err != nil {
			e.options.Log.Warn("write the log of network policy", "file", e.options.EventLogFile, run.KeyErr, err)
		}
	}
}

func writeLines(out io.Writer, lines []enforce.FlowLine) error {
	var text []byte
	for _, line := range lines {
		one, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("write a line: %w", err)
		}
		text = append(append(text, one...), '\n')
	}
	_, err := out.Write(text)
	return err
}

func flowOf(event bpf.Event) enforce.Flow {
	return enforce.Flow{
		Time: wallClock(event.Since), Ifindex: event.Ifindex, Pod: event.Pod, Remote: event.Remote, Protocol: event.Protocol,
		Direction: policy.Direction(event.Initiator), Answer: event.Direction != event.Initiator, Allowed: event.Allowed,
		By: event.By, Rule: event.Rule, Set: event.Set, Reason: string(event.Reason), Host: event.By == bpf.ByHost,
	}
}

// wallClock is when the monotonic clock said so much.
func wallClock(since time.Duration) time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return time.Now()
	}
	return time.Now().Add(since - time.Duration(now.Nano()))
}
