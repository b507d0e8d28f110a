package blackbox

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// maps FROM TO [allowed|denied] asks the agent what its maps say of the first packet from FROM to the service of pod TO, until that is
// the word.
func cmdMaps(w *world, neg bool, args []string) {
	if len(args) != 3 {
		w.fail("maps FROM TO allowed|denied")
	}
	from, _ := w.place(args[0])
	query := url.Values{
		"namespace": {"default"}, "pod": {args[1]}, "direction": {"ingress"}, "address": {from.String()}, "protocol": {"tcp"}, "port": {strconv.Itoa(servicePort)},
	}
	var said struct {
		Interface, By string
		Allowed       bool
	}
	w.expect(neg, patience, func(time.Duration) error {
		if err := w.agent.Fetch("/v1/policy?"+query.Encode(), &said); err != nil {
			return err
		}
		if word := map[bool]string{true: "allowed", false: "denied"}[said.Allowed]; word != args[2] {
			return fmt.Errorf("the maps say %s by %s", word, said.By)
		}
		return nil
	})
	w.printf("%s: by %s\n", said.Interface, said.By)
}
