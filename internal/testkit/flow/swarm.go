package flow

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-net/berth/internal/testkit"
)

// Swarm is many slow flows of UDP that share a sender, and a socket at each far end. What each far end and each client got is known
// message by message.
type Swarm struct {
	every   time.Duration
	flows   []*Member
	servers map[string]*net.UDPConn // by namespace
	spaces  map[string]bool
	stop    chan struct{}
	sender  sync.WaitGroup
	work    sync.WaitGroup
	before  int // packets that the machine had dropped before
}

// Member is a flow of a Swarm.
type Member struct {
	Name string

	id     uint32
	client *net.UDPConn
	mu     sync.Mutex // held from a message's number to its way into the kernel
	next   uint64
	got    bits // at the far end
	back   bits
	fault  error
}

// bits is a set of small numbers.
type bits []uint64

func (b *bits) set(n uint64) {
	for uint64(len(*b)) <= n/64 {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bits) has(n uint64) bool { return n/64 < uint64(len(b)) && b[n/64]>>(n%64)&1 == 1 }

// SwarmPort is where far ends listen.
const SwarmPort = 7002

// buffer is how many bytes a socket holds: what the machine does not get to read at once must not be lost.
const buffer = 8 << 20

// NewSwarm returns a swarm without flows; each will send a message in every such time.
func NewSwarm(every time.Duration) *Swarm {
	return &Swarm{every: every, servers: map[string]*net.UDPConn{}, spaces: map[string]bool{}, stop: make(chan struct{})}
}

// Add adds so many flows from a namespace to an address in another, before Start.
func (s *Swarm) Add(name, from, far string, to netip.Addr, count int) ([]*Member, error) {
	if err := s.listen(far); err != nil {
		return nil, fmt.Errorf("listen for flows %s: %w", name, err)
	}
	s.spaces[from] = true
	var added []*Member
	if err := testkit.TryInNetns(from, func() error {
		for i := range count {
			conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, SwarmPort)))
			if err != nil {
				return err
			}
			m := &Member{Name: fmt.Sprintf("%s #%d", name, i), id: uint32(len(s.flows)), client: conn}
			s.flows, added = append(s.flows, m), append(added, m)
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("open flows %s: %w", name, err)
	}
	return added, nil
}

func (s *Swarm) listen(space string) error {
	if s.servers[space] != nil {
		return nil
	}
	s.spaces[space] = true
	return testkit.TryInNetns(space, func() error {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: SwarmPort})
		if err != nil {
			return err
		}
		s.servers[space] = conn
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		var forced error
		if err := raw.Control(func(fd uintptr) { forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) }); err != nil {
			return err
		}
		return forced
	})
}

// Start has all flows send.
func (s *Swarm) Start() error {
	var err error
	if s.before, err = s.machineDrops(); err != nil {
		return err
	}
	for _, conn := range s.servers {
		s.work.Go(func() { s.echo(conn) })
	}
	for _, m := range s.flows {
		s.work.Go(m.collect)
	}
	s.sender.Go(s.send)
	return nil
}

func (s *Swarm) echo(conn *net.UDPConn) {
	buf := make([]byte, size)
	for {
		n, peer, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		id := binary.BigEndian.Uint32(buf[8:])
		if n != size || int(id) >= len(s.flows) {
			continue
		}
		m := s.flows[id]
		m.mu.Lock()
		m.got.set(binary.BigEndian.Uint64(buf))
		m.mu.Unlock()
		_, _ = conn.WriteToUDPAddrPort(buf, peer)
	}
}

func (m *Member) collect() {
	buf := make([]byte, size)
	for {
		n, err := m.client.Read(buf)
		if err != nil {
			return
		}
		if n != size {
			continue
		}
		m.mu.Lock()
		m.back.set(binary.BigEndian.Uint64(buf))
		m.mu.Unlock()
	}
}

// send spreads the flows over their time.
func (s *Swarm) send() {
	const step = 2 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		due := int(time.Since(began) * time.Duration(len(s.flows)) / s.every)
		due = min(due, sent+len(s.flows)/10+1) // after a pause no flood
		for ; sent < due; sent++ {
			s.flows[sent%len(s.flows)].send()
		}
	}
}

func (m *Member) send() {
	var msg [size]byte
	m.mu.Lock()
	defer m.mu.Unlock()
	binary.BigEndian.PutUint64(msg[:], m.next)
	binary.BigEndian.PutUint32(msg[8:], m.id)
	if _, err := m.client.Write(msg[:]); err != nil {
		m.fault = err
		return
	}
	m.next++
}

// Next is the number of the next message: those before it are with the kernel.
func (m *Member) Next() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next
}

// Tally is what became of a flow's messages.
type Tally struct {
	Sent, Arrived, Returned int
	Fault                   error // of the last message that could not be sent
}

// Lost is how many messages or echoes were lost.
func (t Tally) Lost() int { return t.Sent - t.Returned }

// Between is what became of the messages from one number to before another.
func (m *Member) Between(from, to uint64) Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := Tally{Fault: m.fault}
	for n := from; n < min(to, m.next); n++ {
		t.Sent++
		if m.got.has(n) {
			t.Arrived++
		}
		if m.back.has(n) {
			t.Returned++
		}
	}
	return t
}

// Missing are the numbers of messages that did not arrive, or whose echoes did not.
func (m *Member) Missing() (lost, unanswered []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.next {
		switch {
		case !m.got.has(n):
			lost = append(lost, n)
		case !m.back.has(n):
			unanswered = append(unanswered, n)
		}
	}
	return lost, unanswered
}

// All is what became of all messages.
func (m *Member) All() Tally { return m.Between(0, m.Next()) }

// End stops all flows, waits for what is under way, and says how many packets the machine dropped meanwhile: sockets that were full,
// and the queues of its processors, which others share.
func (s *Swarm) End() (machine int, err error) {
	close(s.stop)
	s.sender.Wait()
	<-time.After(drain)
	machine, err = s.machineDrops()
	for _, conn := range s.servers {
		_ = conn.Close()
	}
	for _, m := range s.flows {
		_ = m.client.Close()
	}
	s.work.Wait()
	return machine - s.before, err
}

// machineDrops is how many packets for the sockets of the swarm's namespaces, and for all of the machine's processors, found no room.
func (s *Swarm) machineDrops() (total int, err error) {
	for space := range s.spaces {
		var text []byte
		if err := testkit.TryInNetns(space, func() (err error) {
			text, err = os.ReadFile("/proc/thread-self/net/udp")
			return err
		}); err != nil {
			return 0, fmt.Errorf("read drops of sockets: %w", err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines[1:] {
			fields := strings.Fields(line)
			n, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return 0, fmt.Errorf("read drops of sockets in %q: %w", line, err)
			}
			total += n
		}
	}
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		n, err := strconv.ParseInt(fields[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read drops of processors in %q: %w", line, err)
		}
		total += int(n)
	}
	return total, nil
}
