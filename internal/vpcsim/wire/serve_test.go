package wire_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
	"github.com/berth-net/berth/internal/vpcsim/wire"
)

// TestServeEnds: both servers end with their context, also while a call waits.
func TestServeEnds(t *testing.T) {
	sim := vpcsim.New(vpcsim.Options{})
	s := wire.New(sim, wire.Options{})
	s.AddFault(pacing.Fault{Action: "sts:*", Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		return l
	}
	api, metadata := listen(), listen()
	done := make(chan error, 2)
	go func() { done <- s.ServeAPI(ctx, api, vpcsim.Caller{Account: account, Source: "operator"}) }()
	go func() { done <- s.ServeIMDS(ctx, metadata, "i-0123456789abcdef0") }()

	resp, err := http.Get("http://" + metadata.Addr().String() + "/latest/meta-data/")
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("metadata of an instance that does not exist: %s", resp.Status)
	}
	waiting := make(chan error, 1)
	go func() {
		resp, err := http.Post("http://"+api.Addr().String(), "application/x-www-form-urlencoded",
			strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15"))
		if err == nil {
			resp.Body.Close()
		}
		waiting <- err
	}()
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := <-waiting; err == nil {
		t.Error("the waiting call was answered")
	}
}

func TestClientEnv(t *testing.T) {
	env := wire.ClientEnv{Endpoint: "127.0.0.1:4566", Region: region, AccessKey: "AK", Secret: "SK", DataPath: filepath.Join(t.TempDir(), "data")}
	must(t, env.WriteEndpoints())
	b, err := os.ReadFile(filepath.Join(env.DataPath, "endpoints.json"))
	must(t, err)
	var doc struct {
		Version    int
		Partitions []struct {
			Services map[string]struct {
				Endpoints map[string]struct {
					Hostname  string
					Protocols []string
				}
			}
		}
	}
	must(t, json.Unmarshal(b, &doc))
	for _, service := range []string{"ec2", "eks", "sts"} {
		e := doc.Partitions[0].Services[service].Endpoints[region]
		if e.Hostname != "127.0.0.1:4566" || !cmp.Equal(e.Protocols, []string{"http"}) {
			t.Errorf("%s: %+v", service, e)
		}
	}
	lines := strings.Join(env.Lines(), "\n")
	for _, want := range []string{"AWS_DATA_PATH=" + env.DataPath, "AWS_ENDPOINT_URL_EC2=http://127.0.0.1:4566", "AWS_PAGER=", "AWS_REGION=us-west-2"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, lines)
		}
	}
}

// TestRouting: the service is told by the signature's scope, the path or the version, and errors have its form.
func TestRouting(t *testing.T) {
	w := start(t, vpcsim.Options{})
	tests := []struct{ name, method, target, body, want string }{
		{"ec2", "POST", "/", "Action=Fly&Version=2016-11-15", "<Response><Errors><Error><Code>InvalidAction</Code>"},
		{"ec2 by GET", "GET", "/?Action=Fly", "", "<Response><Errors><Error><Code>InvalidAction</Code>"},
		{"sts", "POST", "/", "Action=Fly&Version=2011-06-15", "<ErrorResponse"},
		{"eks", "GET", "/clusters/none", "", `{"message":"No cluster found`},
		{"malformed form", "POST", "/", "Action=%zz", "<Code>MalformedQueryString</Code>"},
		{"nothing", "GET", "/", "", "<Code>MissingAction</Code>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), tt.method, w.url+tt.target, strings.NewReader(tt.body))
			must(t, err)
			if body := send(t, r).body; !strings.Contains(body, tt.want) {
				t.Errorf("got %s, want %s", body, tt.want)
			}
		})
	}
}
