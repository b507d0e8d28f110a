package wire_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire"
)

// FuzzHandler: whatever a client sends, the server answers and does not panic.
func FuzzHandler(f *testing.F) {
	f.Add("POST", "/", "Action=CreateVpc&CidrBlock=10.0.0.0/16")
	f.Add("POST", "/", "Action=RunInstances&MinCount=1&MaxCount=1&NetworkInterface.1.DeviceIndex=0")
	f.Add("GET", "/clusters/a%2Fb/addons", "")
	f.Add("POST", "/tags/arn%3Aaws", `{"tags":{}}`)
	f.Add("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "")
	f.Add("PUT", "/_berth/settings", "{}")
	f.Add("POST", "/", "Action=AuthorizeSecurityGroupIngress&GroupId=sg-1&IpPermissions.1.IpProtocol=-1")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		r, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil || r.URL.Host != "" {
			return
		}
		s := wire.New(vpcsim.New(vpcsim.Options{}), wire.Options{})
		w := httptest.NewRecorder()
		s.Handler(vpcsim.Caller{Account: account}).ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %s", method, target, body, w.Body)
		}
	})
}
