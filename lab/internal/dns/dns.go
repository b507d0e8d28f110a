// Package dns is the VPC's resolver: it answers for the names that EC2 gives to private addresses, forward and reverse,
// and says of every other name that there is none, since nothing outside the simulated world can be reached from it.
//
// It guarantees an answer to every well-formed query and none to anything else, whoever sends it.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Names tells which names there are, without a dot at the end and in lower case.
type Names interface {
	// Addresses are a name's; ok is false when there is no such name.
	Addresses(name string) (addresses []netip.Addr, ok bool)
	// Name is an address's, or empty.
	Name(address netip.Addr) string
}

// ttl is short: addresses of the lab change hands.
const ttl = 5

// maxQuery is longer than any query without options that matter here.
const maxQuery = 4096

// Serve answers queries until ctx ends, and closes conn.
func Serve(ctx context.Context, conn net.PacketConn, names Names, log *slog.Logger) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buffer := make([]byte, maxQuery)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read DNS query: %w", err)
		}
		answer, err := Answer(buffer[:n], names)
		if err != nil {
			log.Debug("DNS query is not answered", "err", err)
			continue
		}
		if _, err := conn.WriteTo(answer, from); err != nil {
			log.Debug("DNS answer is not sent", "err", err)
		}
	}
}

// Answer makes the answer to a query.
func Answer(query []byte, names Names) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if header.Response {
		return nil, errors.New("it is an answer")
	}
	question, err := p.Question()
	if err != nil {
		return nil, fmt.Errorf("read question: %w", err)
	}
	answers, code := resolve(question, names)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: header.ID, Response: true, OpCode: header.OpCode, RecursionDesired: header.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	if err := errors.Join(b.StartQuestions(), b.Question(question), b.StartAnswers()); err != nil {
		return nil, fmt.Errorf("write question: %w", err)
	}
	for _, a := range answers {
		if err := write(&b, a); err != nil {
			return nil, fmt.Errorf("write answer: %w", err)
		}
	}
	return b.Finish()
}

func write(b *dnsmessage.Builder, r dnsmessage.Resource) error {
	switch body := r.Body.(type) {
	case *dnsmessage.AResource:
		return b.AResource(r.Header, *body)
	case *dnsmessage.PTRResource:
		return b.PTRResource(r.Header, *body)
	}
	return nil
}

func resolve(q dnsmessage.Question, names Names) ([]dnsmessage.Resource, dnsmessage.RCode) {
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
	if address, ok := reverse(name); ok {
		to, err := dnsmessage.NewName(names.Name(address) + ".")
		if err != nil || to.String() == "." {
			return nil, dnsmessage.RCodeNameError
		}
		return []dnsmessage.Resource{{Header: header, Body: &dnsmessage.PTRResource{PTR: to}}}, dnsmessage.RCodeSuccess
	}
	addresses, ok := names.Addresses(name)
	if !ok {
		return nil, dnsmessage.RCodeNameError
	}
	var out []dnsmessage.Resource
	for _, a := range addresses {
		if q.Type == dnsmessage.TypeA && a.Is4() {
			out = append(out, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		}
	}
	return out, dnsmessage.RCodeSuccess
}

// reverse reads the address out of a name below in-addr.arpa.
func reverse(name string) (netip.Addr, bool) {
	labels, ok := strings.CutSuffix(name, ".in-addr.arpa")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(labels, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return address, err == nil
}
