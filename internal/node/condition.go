package node

import (
	"fmt"
	"strings"
)

// SettingsCondition is the condition of the Node that says whether all settings of resources for it could be taken:
// contradictions are those of pool.Config.With, refused is Facts.Refused.
func SettingsCondition(contradictions, refused []string) Condition {
	c := Condition{Type: ConditionSettings, Status: true, Reason: "SettingsTaken", Message: "all settings for this node are taken"}
	var lines []string
	if len(contradictions) > 0 {
		c.Status, c.Reason = false, "SettingsContradict"
		lines = append(append(lines, contradictions...), "give one of them a higher spec.priority, or change it: kubectl get nodesettings")
	}
	if len(refused) > 0 {
		c.Status, c.Reason = false, "SettingsRefused"
		lines = append(lines, refused...)
	}
	if len(lines) > 0 {
		c.Message = strings.Join(lines, "; ")
	}
	return c
}

// String is the condition in one line, for logs.
func (c Condition) String() string {
	return fmt.Sprintf("%s=%t %s: %s", c.Type, c.Status, c.Reason, c.Message)
}
