package answer_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/berth-net/berth/internal/enforce/answer"
)

func name(s string) dnsmessage.Name { return dnsmessage.MustNewName(s) }

func header(n string, ttl uint32) dnsmessage.ResourceHeader {
	return dnsmessage.ResourceHeader{Name: name(n), Class: dnsmessage.ClassINET, TTL: ttl}
}

func a(n string, ttl uint32, last byte) dnsmessage.Resource {
	return dnsmessage.Resource{Header: header(n, ttl), Body: &dnsmessage.AResource{A: [4]byte{192, 0, 2, last}}}
}

func cname(n, to string) dnsmessage.Resource {
	return dnsmessage.Resource{Header: header(n, 5), Body: &dnsmessage.CNAMEResource{CNAME: name(to)}}
}

func pack(t testing.TB, asked string, change func(*dnsmessage.Message), answers ...dnsmessage.Resource) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, Response: true},
		Questions: []dnsmessage.Question{{Name: name(asked), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}, Answers: answers,
	}
	if change != nil {
		change(&m)
	}
	data, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	chain := []dnsmessage.Resource{cname("www.example.com.", "a.example.net."), cname("a.example.net.", "b.example.net."), a("b.example.net.", 60, 1), a("b.example.net.", 30, 2)}
	shuffled := slices.Clone(chain)
	slices.Reverse(shuffled)
	for text, tt := range map[string]struct {
		message []byte
		want    string
	}{
		"an address":            {pack(t, "www.Example.COM.", nil, a("WWW.example.com.", 60, 1)), "[www.example.com] [192.0.2.1] 1m0s"},
		"aliases":               {pack(t, "www.example.com.", nil, chain...), "[www.example.com a.example.net b.example.net] [192.0.2.1 192.0.2.2] 30s"},
		"in any order":          {pack(t, "www.example.com.", nil, shuffled...), "[www.example.com a.example.net b.example.net] [192.0.2.2 192.0.2.1] 30s"},
		"about somebody else":   {pack(t, "www.example.com.", nil, a("www.example.org.", 60, 1)), ""},
		"and about who asked":   {pack(t, "www.example.com.", nil, a("www.example.org.", 60, 1), a("www.example.com.", 60, 2)), "[www.example.com] [192.0.2.2] 1m0s"},
		"aliases in a circle":   {pack(t, "a.com.", nil, cname("a.com.", "b.com."), cname("b.com.", "a.com.")), ""},
		"a question":            {pack(t, "a.com.", func(m *dnsmessage.Message) { m.Response = false }, a("a.com.", 1, 1)), ""},
		"no such name":          {pack(t, "a.com.", func(m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeNameError }, a("a.com.", 1, 1)), ""},
		"for another type":      {pack(t, "a.com.", func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeMX }, a("a.com.", 1, 1)), ""},
		"of another class":      {pack(t, "a.com.", func(m *dnsmessage.Message) { m.Answers[0].Header.Class = dnsmessage.ClassCHAOS }, a("a.com.", 1, 1)), ""},
		"a TTL beyond all time": {pack(t, "a.com.", nil, a("a.com.", 1<<32-1, 1)), "[a.com] [192.0.2.1] 596523h14m7s"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, err := answer.Parse(tt.message)
			said := fmt.Sprintf("%v %v %v", got.Names, got.Addrs, got.TTL)
			if tt.want == "" {
				if !errors.Is(err, answer.ErrNothing) {
					t.Errorf("%s, %v, want nothing", said, err)
				}
			} else if err != nil || said != tt.want {
				t.Errorf("%s, %v, want %s", said, err, tt.want)
			}
		})
	}
}

func TestAnswerThatWasCutOff(t *testing.T) {
	t.Parallel()
	whole := pack(t, "a.com.", func(m *dnsmessage.Message) { m.Truncated = true }, a("a.com.", 9, 1), a("a.com.", 9, 2))
	got, err := answer.Parse(whole[:len(whole)-3])
	if err != nil || fmt.Sprint(got.Addrs) != "[192.0.2.1]" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := answer.Parse(pack(t, "a.com.", nil, a("a.com.", 9, 1), a("a.com.", 9, 2))[:len(whole)-3]); err == nil {
		t.Error("a message that says that it is whole, and is not, is believed")
	}
}

// FuzzParse: garbage never crashes, and never has an address for a name that it was not asked about.
func FuzzParse(f *testing.F) {
	f.Add(pack(f, "www.example.com.", nil, cname("www.example.com.", "a.net."), a("a.net.", 3, 4)))
	f.Add([]byte{0, 7, 0x81, 0x80, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		got, err := answer.Parse(message)
		if err != nil {
			if len(got.Addrs) > 0 {
				t.Errorf("an error, and %v", got)
			}
			return
		}
		if len(got.Names) == 0 || len(got.Names) > 16 || len(got.Addrs) == 0 || got.TTL < 0 {
			t.Errorf("%+v", got)
		}
		for _, n := range got.Names {
			if strings.ContainsAny(n, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				t.Errorf("name %q", n)
			}
		}
	})
}
