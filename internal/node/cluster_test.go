package node_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node"
)

// An earlier run left a condition that is False, and its cause went away while no agent ran: the first word of the next run
// ends it.
func TestConditionOfAnEarlierRunIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, "10.0.0.0/24")
		h.cluster.conditions = map[string]node.Condition{
			node.ConditionSettings:   {Type: node.ConditionSettings, Reason: "SettingsContradict"},
			node.ConditionAddressing: {Type: node.ConditionAddressing, Reason: "NoEniconfig"},
		}
		h.start()
		defer h.close()
		<-h.node.Ready()
		synctest.Wait()
		h.cluster.mu.Lock()
		defer h.cluster.mu.Unlock()
		for name, c := range h.cluster.conditions {
			if !c.Status {
				t.Errorf("%s is still %s", name, c)
			}
		}
	})
}

// Settings that contradict each other, and some that cannot be taken: the Node has an event that says so, once, and the condition.
func TestSettingsThatAreNotTakenAreAnEvent(t *testing.T) {
	for _, test := range []struct {
		name, reason, message string
		overrides             []pool.Overrides
		refused               []string
	}{
		{
			"contradiction", "SettingsContradict", "a and b, both of priority 0, set pool.warmIPTarget to 1 and 2",
			[]pool.Overrides{{Name: "a", WarmIP: new(1)}, {Name: "b", WarmIP: new(2)}},
			nil,
		},
		{"refused", "SettingsRefused", "NodeSettings x: spec cannot be read", nil, []string{"NodeSettings x: spec cannot be read"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := build(t, "10.0.0.0/24")
				h.cluster.overrides, h.cluster.refused = test.overrides, test.refused
				h.start()
				defer h.close()
				<-h.node.Ready()
				<-time.After(time.Minute)
				synctest.Wait()
				h.cluster.mu.Lock()
				defer h.cluster.mu.Unlock()
				if c := h.cluster.conditions[node.ConditionSettings]; c.Status || c.Reason != test.reason {
					t.Errorf("condition %s", c)
				}
				if len(h.cluster.events) != 1 {
					t.Fatalf("events: %+v", h.cluster.events)
				}
				if e := h.cluster.events[0]; !e.Node || !e.Warning || e.Reason != test.reason || !strings.Contains(e.Message, test.message) {
					t.Errorf("event %+v", e)
				}
			})
		})
	}
}
