package blackbox

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/kube"
)

const shareUsage = "share divide HUNGRY NODES SECONDS | write TEXT | end | holds ENIS"

// share is what berth-controller publishes: divide writes how it divides EC2's buckets among so many hungry nodes of so many,
// write any text, end deletes the object. share holds fails when the node gets more addresses than that in a while.
func cmdShare(w *world, _ bool, args []string) {
	if w.api == nil {
		w.fail("share: kube node comes first")
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		w.check(shareUsage, err)
		return n
	}
	publish := func(text string) {
		const name = "berth-ec2-share"
		w.api.Set("configmaps", name, object{"metadata": object{"name": name}, "data": object{"share": text}})
	}
	switch {
	case len(args) == 4 && args[0] == "divide":
		text, err := json.Marshal(kube.Share{Made: time.Now(), Seconds: number(args[3]), Division: budget.Divide(number(args[1]), number(args[2]), 1)})
		w.check("encode", err)
		publish(string(text))
	case len(args) == 2 && args[0] == "write":
		publish(args[1])
	case len(args) == 1 && args[0] == "end":
		w.api.Set("configmaps", "berth-ec2-share", nil)
	case len(args) == 2 && args[0] == "holds":
		most := args[1]
		var f map[string]string
		if eventually(2*impatience, func() string {
			var err error
			if f, err = w.facts(); err != nil || f["total"] == most {
				return "as many as before"
			}
			return ""
		}) == "" {
			w.fail("the node has %s addresses", f["total"])
		}
	default:
		w.fail("%s", shareUsage)
	}
}
