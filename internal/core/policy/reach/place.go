package reach

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-net/berth/internal/core/policy"
)

// Addresses that pods without one are given.
var (
	placeholders4 = netip.MustParsePrefix("240.0.0.0/4")
	placeholders6 = netip.MustParsePrefix("100::/64")
)

// IsPlaceholder tells whether an address is one that Place gave.
func IsPlaceholder(a netip.Addr) bool { return placeholders4.Contains(a) || placeholders6.Contains(a) }

// Place gives addresses to pods that have none: of IPv6 when all other pods have only that, else of IPv4.
func Place(w *policy.World) {
	next := placeholders4.Addr()
	if onlyIPv6(w.Pods) {
		next = placeholders6.Addr()
	}
	for i := range w.Pods {
		if p := &w.Pods[i]; len(p.Addrs) == 0 && !p.HostNetwork {
			next = next.Next()
			p.Addrs = []netip.Addr{next}
		}
	}
}

func onlyIPv6(pods []policy.Pod) bool {
	some := false
	for _, p := range pods {
		for _, a := range p.Addrs {
			if a.Is4() {
				return false
			}
			some = true
		}
	}
	return some
}

// End is one side of a connection: a pod, or an address that is no pod's.
type End struct {
	Pod   *policy.Pod
	Addrs []netip.Addr
}

// String is the pod's namespace and name, or the address.
func (e End) String() string {
	if e.Pod != nil {
		return PodName(*e.Pod)
	}
	return e.Addrs[0].String()
}

// PodName is a pod's namespace and name.
func PodName(p policy.Pod) string { return p.Namespace + "/" + p.Name }

// FindEnd reads "namespace/pod" or an address. An address of a pod is that pod, of this family.
func FindEnd(w *policy.World, text string) (End, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return End{}, fmt.Errorf("%q has a zone: an address of a pod has none, write it without", text)
		}
		a = a.Unmap()
		for i := range w.Pods {
			if p := &w.Pods[i]; !p.HostNetwork && slices.Contains(p.Addrs, a) {
				return End{Pod: p, Addrs: []netip.Addr{a}}, nil
			}
		}
		return End{Addrs: []netip.Addr{a}}, nil
	}
	namespace, name, found := strings.Cut(text, "/")
	if !found || namespace == "" || name == "" || strings.Contains(name, "/") {
		return End{}, fmt.Errorf("%q is neither namespace/pod nor an address", text)
	}
	for i := range w.Pods {
		if p := &w.Pods[i]; p.Namespace == namespace && p.Name == name {
			if len(p.Addrs) == 0 {
				return End{}, fmt.Errorf("pod %s uses the host's network and has no address yet: ask again once it runs", text)
			}
			return End{Pod: p, Addrs: p.Addrs}, nil
		}
	}
	return End{}, fmt.Errorf("there is no pod %s%s", text, similar(w, namespace, name))
}

// similar names pods that may be meant: those whose name begins so, else some of the namespace.
func similar(w *policy.World, namespace, name string) string {
	var begin, all []string
	for _, p := range w.Pods {
		if p.Namespace != namespace {
			continue
		}
		all = append(all, p.Name)
		if strings.HasPrefix(p.Name, name) || Workload(p) == name {
			begin = append(begin, p.Name)
		}
	}
	if len(all) == 0 {
		return fmt.Sprintf(": namespace %s has no pod that runs", namespace)
	}
	if len(begin) > 0 {
		all = begin
	}
	slices.Sort(all)
	const some = 5
	if len(all) > some {
		return fmt.Sprintf(": namespace %s has %s and %d more", namespace, strings.Join(all[:some], ", "), len(all)-some)
	}
	return fmt.Sprintf(": namespace %s has %s", namespace, strings.Join(all, ", "))
}

// Workload is what a pod's names and labels say it belongs to: the Deployment, StatefulSet, DaemonSet or Job, else the pod itself.
func Workload(p policy.Pod) string {
	if job := p.Labels["batch.kubernetes.io/job-name"]; job != "" {
		return job
	}
	if hash := p.Labels["pod-template-hash"]; hash != "" {
		if i := strings.LastIndex(p.Name, "-"+hash+"-"); i > 0 {
			return p.Name[:i]
		}
	}
	i := strings.LastIndexByte(p.Name, '-')
	if i > 0 && (p.Labels["statefulset.kubernetes.io/pod-name"] == p.Name || p.Labels["controller-revision-hash"] != "") {
		return p.Name[:i]
	}
	return p.Name
}

// FindPort reads a port's number, or its name: what the destination calls so.
func FindPort(to End, protocol policy.Protocol, text string) (uint16, error) {
	if number, ok := PortNumber(text); ok {
		return number, nil
	}
	if text == "" || strings.Trim(text, "0123456789") == "" {
		return 0, fmt.Errorf("%q is no port: want a number from 1 to 65535, or a name", text)
	}
	if to.Pod == nil {
		return 0, fmt.Errorf("port %q is a name, and %s is no pod that could call a port so: give the number", text, to)
	}
	var numbers []uint16
	var names []string
	for _, p := range to.Pod.Ports {
		if p.Name == text && p.Protocol == protocol {
			numbers = append(numbers, p.Number)
		}
		names = append(names, fmt.Sprintf("%s (%s %d)", p.Name, p.Protocol, p.Number))
	}
	slices.Sort(numbers)
	switch numbers = slices.Compact(numbers); {
	case len(numbers) == 1:
		return numbers[0], nil
	case len(numbers) > 1:
		return 0, fmt.Errorf("pod %s calls several %s ports %q: give one of the numbers %v", to, protocol, text, numbers)
	case len(names) == 0:
		return 0, fmt.Errorf("pod %s has no %s port %q: its ports have no names, give the number", to, protocol, text)
	}
	return 0, fmt.Errorf("pod %s has no %s port %q: it has %s", to, protocol, text, strings.Join(names, ", "))
}

// PortNumber reads the number of a port, 1 to 65535.
func PortNumber(text string) (number uint16, ok bool) {
	var n uint32
	for _, c := range []byte(text) {
		if c < '0' || c > '9' || n > 65535 {
			return 0, false
		}
		n = n*10 + uint32(c-'0')
	}
	return uint16(n), n >= 1 && n <= 65535
}

// ProtocolOf reads tcp, udp or sctp, in any case of letters.
func ProtocolOf(text string) (policy.Protocol, error) {
	for _, p := range []policy.Protocol{policy.TCP, policy.UDP, policy.SCTP} {
		if strings.EqualFold(text, p.String()) {
			return p, nil
		}
	}
	return 0, fmt.Errorf("%q is no protocol: want tcp, udp or sctp", text)
}
