package pool_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/vpc"
)

var update = flag.Bool("update", false, "rewrite the golden file")

var instance = vpc.Instance{ID: "i-1", Type: "m5.large", Zone: "us-west-2a", VPC: "vpc-1", Subnet: "subnet-1", PrimaryENI: "eni-primary"}

func fresh(now time.Time) *pool.State {
	limits, _ := vpc.Limits("m5.large")
	return pool.New(pool.Defaults(), instance, limits, "n", now)
}

// lines are records in a form that can be compared, whatever their order.
func lines(t *testing.T, records []pool.Record) []string {
	t.Helper()
	var all []string
	for _, r := range records {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	slices.Sort(all)
	return all
}

// life is what a journal and its snapshots are after a node got interfaces, gave addresses to pods and back to EC2. The nth
// snapshot continues with the records from at[n] on.
type life struct {
	state     *pool.State
	now       time.Time
	journal   []pool.Record
	snapshots [][]pool.Record
	at        []int
}

func (l *life) note(records ...pool.Record) {
	l.journal = append(l.journal, records...)
	l.snapshots, l.at = append(l.snapshots, l.state.Snapshot(l.now)), append(l.at, len(l.journal))
	l.now = l.now.Add(time.Second)
}

func (l *life) act(a pool.Action, r pool.Result) {
	l.note(l.state.Begin(a, l.now)...)
	r.AskedAt = l.now
	l.now = l.now.Add(time.Second)
	l.note(l.state.Finish(a, r, l.now)...)
}

func live(t *testing.T) *life {
	t.Helper()
	l := &life{now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	l.state = fresh(l.now)
	addr := netip.MustParseAddr
	l.act(pool.Action{Kind: pool.ReadENIs, Key: "read-enis"}, pool.Result{ENIs: []vpc.ENI{{
		ID: "eni-primary", Subnet: "subnet-1", Primary: addr("10.0.0.4"), Secondary: []netip.Addr{addr("10.0.0.5"), addr("10.0.0.6"), addr("10.0.0.7")},
		Attachment: &vpc.Attachment{ID: "attach-0", Instance: "i-1", State: vpc.Attached},
	}}})
	l.state.Configured("eni-primary", true)
	for i := range 3 {
		granted, ok := l.state.Add(pool.Pod{Key: pool.Key{ContainerID: fmt.Sprint("c", i), IfName: "eth0"}}, l.now)
		if !ok {
			t.Fatalf("pod %d waits", i)
		}
		l.note(granted.Record)
	}
	freed, _ := l.state.Release(pool.Key{ContainerID: "c1", IfName: "eth0"}, l.now)
	l.note(freed)
	for i, id := range []vpc.ENIID{"eni-1", "eni-2"} {
		pending := &pool.Pending{Token: fmt.Sprint("token-", i), Subnet: "subnet-1", Want: vpc.Want{Count: 2}, At: l.now}
		l.act(pool.Action{Kind: pool.CreateENI, Key: "create/" + pending.Token, Create: pending}, pool.Result{ENI: vpc.ENI{
			ID: id, Subnet: "subnet-1", Primary: addr(fmt.Sprintf("10.0.%d.4", i+1)), Secondary: []netip.Addr{addr(fmt.Sprintf("10.0.%d.5", i+1)), addr(fmt.Sprintf("10.0.%d.6", i+1))},
		}})
		l.act(pool.Action{Kind: pool.AttachENI, Key: "attach/" + string(id), ENI: id, Device: i + 1}, pool.Result{Attachment: "attach-" + vpc.AttachmentID(id)})
	}
	l.act(pool.Action{Kind: pool.UnassignAddresses, Key: "unassign/eni-1", ENI: "eni-1", Blocks: []vpc.Block{vpc.Single(addr("10.0.1.6"))}}, pool.Result{})
	l.note(l.state.Begin(pool.Action{Kind: pool.UnassignAddresses, Key: "unassign/eni-1", ENI: "eni-1", Blocks: []vpc.Block{vpc.Single(addr("10.0.1.5"))}}, l.now)...)
	l.act(pool.Action{Kind: pool.DetachENI, Key: "detach/eni-2", ENI: "eni-2"}, pool.Result{})
	l.act(pool.Action{Kind: pool.ReadENI, Key: "read/eni-2", ENI: "eni-2"}, pool.Result{ENIs: []vpc.ENI{{ID: "eni-2"}}})
	l.act(pool.Action{Kind: pool.DeleteENI, Key: "delete/eni-2", ENI: "eni-2"}, pool.Result{})
	refused := &pool.Pending{Token: "token-2", Subnet: "subnet-1", Want: vpc.Want{Count: 1}, At: l.now}
	l.act(pool.Action{Kind: pool.CreateENI, Key: "create/token-2", Create: refused}, pool.Result{Err: &vpc.Error{Code: vpc.SubnetFull}})
	unknown := &pool.Pending{Token: "token-3", Subnet: "subnet-1", Want: vpc.Want{Count: 1}, At: l.now}
	l.act(pool.Action{Kind: pool.CreateENI, Key: "create/token-3", Create: unknown}, pool.Result{Err: &vpc.Error{Code: vpc.Internal}})
	l.note(l.state.Doubt(l.now))
	return l
}

// A journal is compacted at any moment: a snapshot and what came after it tell the same as all records from the beginning, also
// when the records that the snapshot covers are replayed once more. The format is that of testdata.
func TestSnapshotAtAnyMomentRestoresTheSame(t *testing.T) {
	l := live(t)
	restored := func(records ...pool.Record) []string {
		s := fresh(l.now)
		s.Restore(records)
		return lines(t, s.Snapshot(l.now))
	}
	want := lines(t, l.state.Snapshot(l.now))
	const golden = "testdata/snapshot.jsonl"
	if *update {
		if err := os.WriteFile(golden, []byte(strings.Join(want, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(text)), "\n"), want); diff != "" {
		t.Errorf("the snapshot, which agents of other versions read (-was +is; -update rewrites it after you can explain it):\n%s", diff)
	}
	if diff := cmp.Diff(want, restored(l.journal...)); diff != "" {
		t.Errorf("the journal restores another state (-was +is):\n%s", diff)
	}
	for i, snapshot := range l.snapshots {
		if diff := cmp.Diff(want, restored(append(slices.Clone(snapshot), l.journal[l.at[i]:]...)...)); diff != "" {
			t.Errorf("the snapshot after %d records, and the rest (-was +is):\n%s", l.at[i], diff)
		}
		if diff := cmp.Diff(want, restored(append(slices.Clone(snapshot), l.journal...)...)); diff != "" {
			t.Errorf("the snapshot after %d records, and all of them (-was +is):\n%s", l.at[i], diff)
		}
	}
}
