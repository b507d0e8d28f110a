// Package answer reads answers of DNS servers.
package answer

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-net/berth/internal/core/policy/names"
)

// ErrNothing says that a message has no addresses to learn: a question, an error, or records of other types.
var ErrNothing = errors.New("no addresses in the message")

// maxAliases bounds a chain of aliases: servers follow sixteen at most.
const maxAliases = 16

// Parse reads a message as it comes by UDP. Only addresses count that the name which was asked for leads to, by aliases that the message
// itself has: other records may be about anybody. A message that was cut off counts as far as it goes.
func Parse(message []byte) (names.Answer, error) {
	var p dnsmessage.Parser
	head, err := p.Start(message)
	if err != nil {
		return names.Answer{}, fmt.Errorf("read answer: %w", err)
	}
	if !head.Response || head.RCode != dnsmessage.RCodeSuccess {
		return names.Answer{}, ErrNothing
	}
	question, err := p.Question()
	if err != nil {
		return names.Answer{}, fmt.Errorf("read question of answer: %w", err)
	}
	if question.Class != dnsmessage.ClassINET || question.Type != dnsmessage.TypeA && question.Type != dnsmessage.TypeAAAA {
		return names.Answer{}, ErrNothing
	}
	if err := p.SkipAllQuestions(); err != nil {
		return names.Answer{}, fmt.Errorf("read questions of answer: %w", err)
	}
	r, err := readRecords(&p)
	if err != nil && !head.Truncated {
		return names.Answer{}, err
	}
	return r.follow(canonical(question.Name))
}

// records are those of an answer that matter.
type records struct {
	alias map[string]string
	addrs map[string][]netip.Addr
	ttl   map[string]uint32
}

func readRecords(p *dnsmessage.Parser) (records, error) {
	r := records{alias: map[string]string{}, addrs: map[string][]netip.Addr{}, ttl: map[string]uint32{}}
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return r, nil
		}
		if err == nil {
			err = r.read(p, h)
		}
		if err != nil {
			return r, fmt.Errorf("read records of answer: %w", err)
		}
	}
}

func (r records) read(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) error {
	name := canonical(h.Name)
	switch {
	case h.Class != dnsmessage.ClassINET:
		return p.SkipAnswer()
	case h.Type == dnsmessage.TypeA:
		a, err := p.AResource()
		if err == nil {
			r.add(name, h.TTL, netip.AddrFrom4(a.A))
		}
		return err
	case h.Type == dnsmessage.TypeAAAA:
		a, err := p.AAAAResource()
		if err == nil {
			r.add(name, h.TTL, netip.AddrFrom16(a.AAAA).Unmap())
		}
		return err
	case h.Type == dnsmessage.TypeCNAME:
		a, err := p.CNAMEResource()
		if err == nil {
			r.alias[name] = canonical(a.CNAME)
		}
		return err
	}
	return p.SkipAnswer()
}

func (r records) add(name string, ttl uint32, a netip.Addr) {
	if was, ok := r.ttl[name]; !ok || ttl < was {
		r.ttl[name] = ttl
	}
	r.addrs[name] = append(r.addrs[name], a)
}

// follow goes from the name that was asked for to the addresses.
func (r records) follow(name string) (names.Answer, error) {
	var a names.Answer
	for range maxAliases {
		if slices.Contains(a.Names, name) {
			break
		}
		a.Names = append(a.Names, name)
		if addrs := r.addrs[name]; len(addrs) > 0 {
			a.Addrs = addrs
			a.TTL = time.Duration(min(r.ttl[name], math.MaxInt32)) * time.Second // RFC 2181, section 8: more is none
			return a, nil
		}
		next, ok := r.alias[name]
		if !ok {
			break
		}
		name = next
	}
	return names.Answer{}, ErrNothing
}

// canonical is a name in lower case, without a dot at its end. Only letters of ASCII have two cases in DNS.
func canonical(n dnsmessage.Name) string {
	b := []byte(strings.TrimSuffix(n.String(), "."))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
