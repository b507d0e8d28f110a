package aws

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// answer is one HTTP answer.
type answer struct {
	status int
	body   string
}

func ok(body string) answer { return answer{http.StatusOK, body} }

func apiError(status int, code, message string) answer {
	return answer{status, fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>r</RequestID></Response>`, code, message)}
}

// reply wraps the members of a response as EC2 does.
func reply(action, members string) answer {
	return ok(`<?xml version="1.0" encoding="UTF-8"?><` + action + `Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>` + members + `</` + action + `Response>`)
}

func golden(t *testing.T, name string) answer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return ok(string(data))
}

// endpoint answers each action with the answers queued for it, the last one for ever.
type endpoint struct {
	mu      sync.Mutex
	answers map[string][]answer
	asked   []url.Values
	headers []http.Header
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	e.mu.Lock()
	e.asked, e.headers = append(e.asked, r.PostForm), append(e.headers, r.Header)
	action := r.PostForm.Get("Action")
	queue := e.answers[action]
	a := apiError(http.StatusBadRequest, "InvalidAction", "no answer for "+action)
	if len(queue) > 0 {
		a = queue[0]
		if len(queue) > 1 {
			e.answers[action] = queue[1:]
		}
	}
	e.mu.Unlock()
	if a.status == 0 { // hang up
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			conn.Close()
		}
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(a.body))
}

func (e *endpoint) forms(action string) []url.Values {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []url.Values
	for _, f := range e.asked {
		if f.Get("Action") == action {
			out = append(out, f)
		}
	}
	return out
}

// connect returns a client of a server that answers as told.
func connect(t *testing.T, answers map[string][]answer) (*Client, *endpoint, *[]Call) {
	t.Helper()
	e := &endpoint{answers: answers}
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	var mu sync.Mutex
	calls := &[]Call{}
	c, err := New(t.Context(), Config{
		Region: "us-west-2", Endpoint: server.URL, Version: "v9", HTTPTimeout: 5 * time.Second,
		Observe: func(c Call) {
			mu.Lock()
			defer mu.Unlock()
			*calls = append(*calls, c)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.pause = time.Millisecond
	return c, e, calls
}
