package blackbox

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maps FROM TO[:PORT] allowed|denied asks the agent what its maps say of the first packet from FROM to the service of pod TO, or to
// another port of it, until that is the word.
func cmdMaps(w *world, neg bool, args []string) {
	if len(args) != 3 {
		w.fail("maps FROM TO[:PORT] allowed|denied")
	}
	from, _ := w.place(args[0])
	to, port, explicit := strings.Cut(args[1], ":")
	if !explicit {
		port = strconv.Itoa(servicePort)
	}
	query := url.Values{
		"namespace": {"default"}, "pod": {to}, "direction": {"ingress"}, "address": {from.String()}, "protocol": {"tcp"}, "port": {port},
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
