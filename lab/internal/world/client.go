package world

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

// Client gives orders to the running lab.
type Client struct {
	paths Paths
	http  *http.Client
}

// ErrNotRunning tells that there is no lab to talk to.
var ErrNotRunning = errors.New("no lab is running: berth lab up -f cluster.yaml")

// ErrNotRoot tells that only root may know whether there is one.
var ErrNotRoot = errors.New("the lab talks to root alone: run it as root")

// Dial returns a client of the running lab.
func Dial() (*Client, error) {
	r, ok := Running()
	switch {
	case !ok && os.Geteuid() != 0:
		return nil, ErrNotRoot
	case !ok:
		return nil, ErrNotRunning
	}
	p := PathsOf(r.Repo)
	var d net.Dialer
	return &Client{paths: p, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", p.Socket())
		},
	}}}, nil
}

// Status asks how the lab is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.order(ctx, http.MethodGet, "http://lab/status", nil, &s)
}

// Launch starts an instance beside the cluster.
func (c *Client) Launch(ctx context.Context, r LaunchRequest) (InstanceStatus, error) {
	var s InstanceStatus
	return s, c.order(ctx, http.MethodPost, "http://lab/instances", r, &s)
}

// Terminate ends such an instance.
func (c *Client) Terminate(ctx context.Context, id string) error {
	return c.order(ctx, http.MethodDelete, "http://lab/instances/"+id, nil, nil)
}

// LoadImage imports an image archive into every node.
func (c *Client) LoadImage(ctx context.Context, archive string) error {
	return c.order(ctx, http.MethodPost, "http://lab/images", struct{ Path string }{archive}, nil)
}

// LoadSnapshot puts the VPC back to a state that a snapshot of this lab holds.
func (c *Client) LoadSnapshot(ctx context.Context, state json.RawMessage) error {
	return c.order(ctx, http.MethodPut, "http://lab/snapshot", state, nil)
}

// Reboot ends a node as a loss of power would, and starts it again. It returns when its kubelet runs.
func (c *Client) Reboot(ctx context.Context, id string) error {
	return c.order(ctx, http.MethodPost, "http://lab/nodes/"+id+"/reboot", nil, nil)
}

// PutRole makes a role or replaces it, and returns its ARN.
func (c *Client) PutRole(ctx context.Context, name string, r Role) (string, error) {
	var made struct{ ARN string }
	err := c.order(ctx, http.MethodPut, "http://lab/roles/"+name, r, &made)
	return made.ARN, err
}

// Capture writes what passes an interface to out, until ctx ends.
func (c *Client) Capture(ctx context.Context, eni string, out io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lab/pcap/"+eni, nil)
	if err != nil {
		return fmt.Errorf("capture %s: %w", eni, err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("capture %s: %w", eni, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("capture %s: %w", eni, refusal(resp))
	}
	if _, err = io.Copy(out, resp.Body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("capture %s: %w", eni, err)
	}
	return nil
}

// VPC gives an order to the simulated VPC's control endpoints, such as faults or calls.
func (c *Client) VPC(ctx context.Context, method, path string, in, out any) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	plain := Client{paths: c.paths, http: &http.Client{Transport: &http.Transport{}}} // no proxy: it is on the loopback
	return plain.order(ctx, method, "http://"+s.API+"/_berth/"+path, in, out)
}

func (c *Client) order(ctx context.Context, method, url string, in, out any) error {
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case json.RawMessage:
		body = bytes.NewReader(in)
	default:
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("write order: %w", err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return fmt.Errorf("order the lab: %w", err)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("order the lab: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the lab's answer: %w", err)
	}
	return nil
}

// refusal reads why an order was not carried out.
func refusal(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	var said struct{ Error string }
	if err := json.Unmarshal(data, &said); err == nil && said.Error != "" {
		return errors.New(said.Error)
	}
	return fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(data))
}
