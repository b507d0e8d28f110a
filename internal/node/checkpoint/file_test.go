package checkpoint_test

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/node/checkpoint"
)

var compareAddrs = cmpopts.EquateComparable(netip.Addr{})

const documented = `{"version":"vpc-cni-ipam/1","allocations":[` +
	`{"networkName":"aws-cni","containerID":"c1","ifName":"eth0","ipv4":"10.0.0.7","allocationTimestamp":1000000000,"metadata":{"k8sPodNamespace":"shop","k8sPodName":"web","interfacesCount":1}},` +
	`{"networkName":"aws-cni","containerID":"c2","ifName":"eth0","ipv4":"10.0.0.8","allocationTimestamp":1000000000,"metadata":{"k8sPodNamespace":"shop","k8sPodName":"db","interfacesCount":1}}]}` + "\n"

func TestFormatIsTheDocumentedOne(t *testing.T) {
	got, err := checkpoint.Encode([]pool.Allocation{recorded("web", "c1", "10.0.0.7"), recorded("db", "c2", "10.0.0.8")})
	if err != nil || string(got) != documented {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, documented)
	}
	entries, err := checkpoint.Decode(got)
	if diff := cmp.Diff([]checkpoint.Entry{entry("web", "c1", "10.0.0.7"), entry("db", "c2", "10.0.0.8")}, entries, compareAddrs); diff != "" || err != nil {
		t.Errorf("%v, changed on the way (-written +read):\n%s", err, diff)
	}
	if got, err := checkpoint.Encode(nil); err != nil || string(got) != `{"version":"vpc-cni-ipam/1","allocations":[]}`+"\n" {
		t.Errorf("without pods: %s, %v", got, err)
	}
}

func TestWhatIsNoCheckpointIsRefused(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "torn": documented[:200], "another version": `{"version":"vpc-cni-ipam/2","allocations":[]}`, "no version": `{}`,
		"no address": `{"version":"vpc-cni-ipam/1","allocations":[{"ipv4":"300.1.1.1"}]}`, "a list": `[]`,
	} {
		if entries, err := checkpoint.Decode([]byte(data)); err == nil {
			t.Errorf("%s: %d entries", name, len(entries))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte(`{"version":"vpc-cni-ipam/1","allocations":[{"ipv6":"2001:db8::1"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := checkpoint.Decode(data)
		if err == nil {
			checkpoint.Judge(checkpoint.Found{Exists: true, Foreign: true, Entries: entries}, nil, true, checkpoint.Kernel{})
		}
	})
}

func open(dir string) *checkpoint.File {
	return checkpoint.New(filepath.Join(dir, "ipam.json"), slog.New(slog.DiscardHandler))
}

// written writes pods as a run of the agent does, and returns the directory.
func written(t *testing.T, dir string, pods ...pool.Allocation) {
	t.Helper()
	f := open(dir)
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	f.Save(pods)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, dir string) checkpoint.Found {
	t.Helper()
	found, err := open(dir).Load()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRoundTripsTellWhoWroteLast(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	if found := load(t, dir); found.Exists {
		t.Errorf("nothing is there: %+v", found)
	}
	put(t, path, documented) // the other CNI's first run
	if found := load(t, dir); !found.Foreign || len(found.Entries) != 2 {
		t.Errorf("its file: %+v", found)
	}
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	written(t, dir, recorded("web", "c1", "10.0.0.7"), recorded("x", "c3", "10.0.0.9"))
	if found := load(t, dir); found.Foreign || len(found.Entries) != 2 {
		t.Errorf("our own: %+v", found)
	}
	put(t, path, strings.ReplaceAll(documented, "c2", "c4")) // it ran again
	if found := load(t, dir); !found.Foreign {
		t.Errorf("its file of a second run: %+v", found)
	}
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	if found := load(t, dir); found.Foreign {
		t.Errorf("our own again: %+v", found)
	}
}

// The other CNI gives addresses back to EC2 without touching its file.
func TestOtherCNIThatRanWithoutWritingIsNoticedByItsSocket(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	socket := open(dir).Socket()
	put(t, socket, "")
	if err := os.Chtimes(socket, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if found := load(t, dir); !found.Foreign {
		t.Errorf("%+v", found)
	}
}

// What is in the file is the same, so there would be nothing to write: each start would believe that the other CNI ran just before.
func TestFileThatTheOtherCNILeftAloneIsOursAgainAfterOurNextRun(t *testing.T) {
	dir := t.TempDir()
	pods := []pool.Allocation{recorded("web", "c1", "10.0.0.7")}
	written(t, dir, pods...)
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "ipam.json.marks"), past, past); err != nil {
		t.Fatal(err)
	}
	put(t, open(dir).Socket(), "") // it ran half an hour later
	if err := os.Chtimes(open(dir).Socket(), past, past.Add(30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if found := load(t, dir); !found.Foreign {
		t.Fatalf("the test is wrong: %+v", found)
	}
	written(t, dir, pods...)
	if found := load(t, dir); found.Foreign {
		t.Errorf("after our run: %+v", found)
	}
}

// Before version 1.23 it listens on a port, which on a node of ours is anybody's.
func TestLoadWaitsWhileAnOldVersionOfTheOtherCNIRuns(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	try := func() error {
		f := open(dir)
		f.SetPort(l.Addr().String())
		_, err := f.Load()
		return err
	}
	if err := try(); err != nil {
		t.Errorf("no file is there, the port is somebody else's: %v", err)
	}
	put(t, filepath.Join(dir, "ipam.json"), documented)
	if err := try(); err == nil || !strings.Contains(err.Error(), "waits for its end") {
		t.Errorf("it runs: %v", err)
	}
	put(t, open(dir).Socket(), "")
	if err := try(); err != nil {
		t.Errorf("a later version ran, the port is somebody else's: %v", err)
	}
	if err := os.Remove(open(dir).Socket()); err != nil {
		t.Fatal(err)
	}
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	if err := try(); err != nil {
		t.Errorf("the file is ours, the port is somebody else's: %v", err)
	}
}

func TestLoadWaitsWhileTheOtherCNIRuns(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", open(dir).Socket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir).Load(); err == nil || !strings.Contains(err.Error(), "waits for its end") {
		t.Errorf("it runs: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir).Load(); err != nil {
		t.Errorf("it has ended: %v", err)
	}
}

// Each file that a crash may leave: the marks are durable before the file, so a file of ours is never taken for another's.
func TestCrashBetweenMarksAndFileLeavesOurFileOurs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	written(t, dir, recorded("web", "c1", "10.0.0.7"), recorded("db", "c2", "10.0.0.8"))
	put(t, path, string(before)) // as if the rename had not happened
	if found := load(t, dir); found.Foreign || len(found.Entries) != 1 {
		t.Errorf("%+v", found)
	}
	if err := os.Remove(path + ".marks"); err != nil {
		t.Fatal(err)
	}
	if found := load(t, dir); !found.Foreign { // then the kernel is asked about each pod
		t.Errorf("without marks: %+v", found)
	}
}

func TestForeignFileStaysForeignUntilItIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	put(t, path, documented)
	written(t, dir, recorded("web", "c1", "10.0.0.7"))
	put(t, path, documented) // the crash came before the rename
	if found := load(t, dir); !found.Foreign {
		t.Errorf("%+v", found)
	}
}

func TestFileThatIsNotBelievedIsKeptAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	put(t, path, "not a checkpoint")
	f := open(dir)
	found, err := f.Load()
	if err != nil || found.Damage == "" || !found.Foreign || !found.Exists {
		t.Fatalf("%+v, %v", found, err)
	}
	f.KeepAside()
	f.Save(nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(path + ".kept"); err != nil || string(kept) != "not a checkpoint" {
		t.Errorf("kept %q, %v", kept, err)
	}
	if found := load(t, dir); found.Foreign || found.Damage != "" {
		t.Errorf("%+v", found)
	}
}

// Both give the same addresses to different pods: whoever looks for the reason finds it in the log.
func TestOtherCNIThatWritesWhileWeRunIsSaid(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	put(t, path, documented)
	var log bytes.Buffer
	f := checkpoint.New(path, slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := f.Load(); err != nil {
		t.Fatal(err)
	}
	save := func(pods ...pool.Allocation) string {
		t.Helper()
		f.Save(pods)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return log.String()
	}
	if said := save(recorded("web", "c1", "10.0.0.7")) + save(); said != "" {
		t.Errorf("nobody else writes: %s", said)
	}
	put(t, path, documented)
	if said := save(recorded("db", "c2", "10.0.0.8")); !strings.Contains(said, "level=ERROR") || !strings.Contains(said, "another CNI wrote") {
		t.Errorf("the other CNI wrote: %q", said)
	}
	if kept, err := os.ReadFile(path + ".kept"); err != nil || string(kept) != documented {
		t.Errorf("kept %q, %v", kept, err)
	}
}

func TestFileThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ipam.json")
	if err := os.Mkdir(path+".next", 0o755); err != nil { // in the way of the file that is written beside
		t.Fatal(err)
	}
	f := open(dir)
	f.Save([]pool.Allocation{recorded("web", "c1", "10.0.0.7")})
	if err := f.Close(); err == nil {
		t.Fatal("it was written")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	if err := os.Remove(path + ".next"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if found := load(t, dir); found.Foreign || len(found.Entries) != 1 {
		t.Errorf("%+v", found)
	}
}
