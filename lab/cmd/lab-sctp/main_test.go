package main

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestAssociation sets one up between client and server, without sockets.
func TestAssociation(t *testing.T) {
	client, server := net.Pipe()
	defer func() { _, _ = client.Close(), server.Close() }()
	heard := make(chan uint8, 8)
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			p, err := parse(buf[:n])
			if err != nil || p.To != 9003 {
				continue
			}
			heard <- p.Type
			if reply, ok := answer(p, 7); ok {
				_, _ = server.Write(reply.bytes())
			}
		}
	}()
	if err := associate(client, 9003, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if a, b := <-heard, <-heard; a != chunkInit || b != chunkCookieEcho {
		t.Errorf("the server heard chunks %d and %d", a, b)
	}
	if err := associate(client, 9005, 400*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a port that nobody serves: %v", err)
	}
}

func TestGarbageIsNotAnswered(t *testing.T) {
	whole := packet{From: 1, To: 2, Type: chunkInit, Value: initValue(9, 1, nil)}.bytes()
	for n := range whole {
		if p, err := parse(whole[:n]); err == nil {
			if _, ok := answer(p, 7); ok {
				t.Errorf("the first %d bytes of a packet are answered", n)
			}
		}
	}
	whole[len(whole)-1] ^= 1
	if _, err := parse(whole); err == nil {
		t.Error("a packet with a wrong checksum is read")
	}
}

func TestOnlyWhatNeedsSCTPIsTaken(t *testing.T) {
	serve := []string{"SERVE_SCTP_PORT_9003=foo"}
	for _, tt := range []struct {
		args, env []string
		want      bool
	}{
		{[]string{"porter"}, serve, true},
		{[]string{"porter"}, []string{"SERVE_PORT_80=foo"}, false},
		{[]string{"connect", "a:1", "--protocol=sctp"}, nil, true},
		{[]string{"connect", "a:1", "--protocol=tcp"}, nil, false},
		{[]string{"pause"}, serve, false},
		{nil, nil, false},
	} {
		if got := ours(tt.args, tt.env); got != tt.want {
			t.Errorf("%v with %v: %v", tt.args, tt.env, got)
		}
	}
}
