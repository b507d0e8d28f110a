package linux_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/linux"
	"github.com/berth-net/berth/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.RunNetns(m)) }

// space is a network namespace of a test.
type space struct {
	tb   testing.TB
	file *os.File
}

func newSpace(tb testing.TB) *space {
	tb.Helper()
	f, err := os.Open(testkit.Netns(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return &space{tb, f}
}

// try runs a shell command in the namespace.
func (s *space) try(command string) (string, error) {
	var out []byte
	err := linux.In(s.file, func() (err error) {
		out, err = exec.Command("sh", "-ec", command).CombinedOutput()
		return err
	})
	return strings.TrimSpace(string(out)), err
}

// run runs shell commands in the namespace; failure ends the test.
func (s *space) run(commands ...string) string {
	s.tb.Helper()
	var out string
	for _, c := range commands {
		var err error
		if out, err = s.try(c); err != nil {
			s.tb.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
	return out
}

// host opens the namespace as a machine.
func (s *space) host() *linux.Host {
	s.tb.Helper()
	h, err := linux.New(linux.Options{NetNS: s.file, NftPath: testkit.RequireProgram(s.tb, "nft"), XtablesLock: filepath.Join(s.tb.TempDir(), "lock")})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() { _ = h.Close() })
	return h
}

func settings() hostnet.Settings {
	return hostnet.Settings{
		VethPrefix: "eni", ENIMTU: 9001, PodMTU: 9001, SNAT: true, RandomizeSNAT: hostnet.RandomizePRNG, NodePort: true, ConnMark: 0x80,
	}
}
