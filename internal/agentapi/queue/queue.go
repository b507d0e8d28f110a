// Package queue keeps DEL requests on disk while the agent is down: one file per attachment, complete or absent. The
// plugin writes them and answers the runtime with success; the agent applies and removes them once it listens.
//
// A plugin that has queued a request asks the agent once more. So a request is either answered by the agent, or was on
// disk before the agent began to listen: an agent that reads the queue after it began to listen misses none.
package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/berth-net/berth/internal/agentapi"
)

// Dir is where requests wait.
const Dir = "/var/run/aws-node/pending-del"

const suffix = ".json"

// Entry is a request that waits.
type Entry struct {
	Request agentapi.Request `json:"request"`
	Queued  time.Time        `json:"queued"`

	path string
}

// Queue is a directory of requests.
type Queue struct {
	dir string
}

// New returns the queue in dir, which is made when it is needed.
func New(dir string) Queue { return Queue{dir: dir} }

// Put stores a request durably; one of the same attachment is replaced.
func (q Queue) Put(req agentapi.Request, now time.Time) (err error) {
	if err := os.MkdirAll(q.dir, 0o755); err != nil { //nolint:gosec // its parent is shared with other programs of the node
		return fmt.Errorf("make queue %s: %w", q.dir, err)
	}
	data, err := json.Marshal(Entry{Request: req, Queued: now})
	if err != nil {
		return fmt.Errorf("encode request of %s: %w", req.Attachment, err)
	}
	path := filepath.Join(q.dir, fileName(req.Attachment))
	tmp := path + "." + strconv.Itoa(os.Getpid())
	if err := writeSynced(tmp, data); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("queue request of %s: %w", req.Attachment, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("queue request of %s: %w", req.Attachment, err)
	}
	return syncDir(q.dir)
}

// Remove forgets the request of an attachment; one that is not there is success.
func (q Queue) Remove(a agentapi.Attachment) error {
	return remove(filepath.Join(q.dir, fileName(a)))
}

// List returns what waits, by name of file. A file that cannot be understood is set aside under another name and named
// in the error; the entries are valid all the same.
func (q Queue) List() ([]Entry, error) {
	files, err := os.ReadDir(q.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read queue %s: %w", q.dir, err)
	}
	var entries []Entry
	var bad []error
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), suffix) {
			continue // being written, or left by a crash in the middle
		}
		e, err := read(filepath.Join(q.dir, f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // its plugin reached the agent after all
		}
		if err != nil {
			bad = append(bad, err, setAside(filepath.Join(q.dir, f.Name())))
			continue
		}
		entries = append(entries, e)
	}
	return entries, errors.Join(bad...)
}

// Done removes the entry once it is applied.
func (e Entry) Done() error { return remove(e.path) }

// maxEntry bounds what is read from one file, in bytes.
const maxEntry = 64 << 10

func read(path string) (Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return Entry{}, fmt.Errorf("open queued request: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxEntry))
	if err != nil {
		return Entry{}, fmt.Errorf("read queued request %s: %w", path, err)
	}
	e := Entry{path: path}
	if err := json.Unmarshal(data, &e); err != nil {
		return Entry{}, fmt.Errorf("decode queued request %s: %w", path, err)
	}
	if e.Request.Verb != agentapi.Del {
		return Entry{}, fmt.Errorf("queued request %s asks for %q, only DEL can wait", path, e.Request.Verb)
	}
	if err := e.Request.Validate(); err != nil {
		return Entry{}, fmt.Errorf("queued request %s: %w", path, err)
	}
	return e, nil
}

func setAside(path string) error {
	if err := os.Rename(path, path+".bad"); err != nil {
		return fmt.Errorf("set queued request aside: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove queued request: %w", err)
	}
	return nil
}

// fileName starts with the container's id, for people; the hash of the whole attachment makes it unique. The names are
// those that the CNI specification allows; whatever else is in them becomes an underscore.
func fileName(a agentapi.Attachment) string {
	const readable = 80
	id := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-':
			return r
		}
		return '_'
	}, a.ContainerID)
	if len(id) > readable {
		id = id[:readable]
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, a.Network+"\x00"+a.ContainerID+"\x00"+a.IfName)
	return id + "-" + strconv.FormatUint(h.Sum64(), 16) + suffix
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open queue: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync queue %s: %w", dir, err)
	}
	return nil
}
