package node_test

import (
	"testing"
	"testing/synctest"

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
