package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/kube/apiserver"
	"github.com/berth-net/berth/internal/run"
)

// The controller's word on how the account's EC2 buckets are divided is one ConfigMap in the agents' namespace, of less than
// a kilobyte: the API server passes a change of it only to those that watch its name.
const (
	shareName = "berth-ec2-share"
	shareKey  = "share"
	// mostLife is how long any word counts; one that was made longer ago, by clocks that may differ, is a dead controller's.
	mostLife = 10 * time.Minute
	// shareTick is how often the share is told again to who makes the calls, which may not be there yet.
	shareTick = 30 * time.Second
)

// Share is what a controller publishes: how the buckets are divided, and for how long.
type Share struct {
	Made    time.Time `json:"made"` // by the controller's clock; another one makes it another word
	Seconds int       `json:"seconds"`
	budget.Division
}

// check says why a share cannot be used.
func (s Share) check() error {
	if s.Made.IsZero() || s.Seconds <= 0 || s.Seconds > int(mostLife/time.Second) {
		return fmt.Errorf("made at %q for %d seconds", s.Made.Format(time.RFC3339), s.Seconds)
	}
	return s.Division.Check()
}

// configMap is the part of a ConfigMap that is read.
type configMap struct {
	apiserver.Head
	Data map[string]string `json:"data"`
}

// shareWord is the share that counts.
type shareWord struct {
	Share
	until time.Time // by our clock
}

// watchShare follows the one ConfigMap.
func (c *Client) watchShare(ctx context.Context, a *apiserver.API) error {
	f := apiserver.Feed[configMap]{
		Path: "/api/v1/namespaces/" + c.shareNamespace() + "/configmaps", Selector: named(shareName), Seen: &c.seen.share,
		List: func(all []configMap) {
			c.tried(whatShare, "")
			if len(all) == 0 {
				c.takeShare("")
			}
			for _, m := range all {
				c.takeShare(m.Data[shareKey])
			}
		},
		Change: func(m configMap, gone bool) {
			if gone {
				m.Data = nil
			}
			c.takeShare(m.Data[shareKey])
		},
	}
	return ofChart(f.Follow(ctx, a))
}

func (c *Client) shareNamespace() string { return cmp.Or(c.cfg.PodNamespace, "kube-system") }

// takeShare takes what was published; nothing ends what was before. A word that was seen counts no longer by being listed
// again. What makes no sense is told and else ignored.
func (c *Client) takeShare(text string) {
	var s Share
	var err error
	if text != "" {
		if err = json.Unmarshal([]byte(text), &s); err == nil {
			err = s.check()
		}
	}
	trouble := ""
	if err != nil {
		trouble = fmt.Sprintf("ConfigMap %s/%s is ignored: %v; is it berth-controller that writes it?", c.shareNamespace(), shareName, err)
		c.log.Warn("the share of EC2's buckets cannot be used", run.KeyWhy, trouble)
	}
	c.tried(whatShare, trouble)
	if err != nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	if text == "" {
		c.share = shareWord{}
	} else if !s.Made.Equal(c.share.Made) {
		c.share = shareWord{Share: s}
		if now.Sub(s.Made) < mostLife {
			c.share.until = now.Add(time.Duration(s.Seconds) * time.Second)
		}
	}
	c.mu.Unlock()
	c.shares.Wake()
}

// tellShare hands the share to who makes the calls.
func (c *Client) tellShare(context.Context) error {
	c.mu.Lock()
	s, hungry := c.share, len(c.told.bound) > 0
	c.mu.Unlock()
	if !time.Now().Before(s.until) {
		s.Division = budget.Division{}
	}
	if err := c.cfg.Divide(s.Division, hungry, s.until); err != nil {
		return err
	}
	if divided := len(s.Portions) > 0; divided != c.divided {
		c.divided = divided
		c.log.Info("share of EC2's buckets", "divided", divided, "hungry", s.Hungry, "nodes", s.Nodes)
	}
	return nil
}

// Share is the share that counts now and until when, nil when none does.
func (c *Client) Share() (share *Share, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !time.Now().Before(c.share.until) || len(c.share.Portions) == 0 {
		return nil, time.Time{}
	}
	return new(c.share.Share), c.share.until
}
