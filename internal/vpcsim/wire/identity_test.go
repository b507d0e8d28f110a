package wire_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire"
)

// isolate makes the SDK's default configuration see nothing of the machine's own.
func isolate(t *testing.T, env map[string]string) {
	t.Helper()
	none := filepath.Join(t.TempDir(), "none")
	for k, v := range map[string]string{
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_PROFILE": "", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "",
		"AWS_SESSION_TOKEN": "", "AWS_REGION": region, "AWS_ENDPOINT_URL": "", "AWS_EC2_METADATA_DISABLED": "",
	} {
		t.Setenv(k, v)
	}
	for k, v := range env {
		t.Setenv(k, v)
	}
}

// defaultClient is what a program gets that configures nothing: everything comes from the environment.
func defaultClient(t *testing.T) *ec2.Client {
	t.Helper()
	c, err := config.LoadDefaultConfig(t.Context(), config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	must(t, err)
	return ec2.NewFromConfig(c)
}

const nodePolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ec2:Describe*"],"Resource":"*"}]}`

// TestRoles: the credentials of an instance's role and of a pod's service account come from where the SDK looks by itself,
// they are verified, and each role may do what its policy says.
func TestRoles(t *testing.T) {
	w := start(t, vpcsim.Options{})
	w.server = wire.New(w.sim, wire.Options{Credentials: w.store, WebIdentity: verifier{}, VerifySignatures: true})
	w.url = serveTest(t, w.server)
	n := w.network(t)
	settings := w.sim.Settings()
	settings.Authorize = true
	w.sim.SetSettings(settings)
	must(t, w.sim.SetPolicies("node", nodePolicy))
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("good"), 0o600))

	tests := []struct {
		name string
		env  map[string]string
		want []string // of a read and a write
	}{
		{"operator", map[string]string{"AWS_ACCESS_KEY_ID": "AKIAOPERATOR", "AWS_SECRET_ACCESS_KEY": "secret"}, []string{"200 ok", "412 DryRunOperation"}},
		{"instance role", map[string]string{
			"AWS_EC2_METADATA_SERVICE_ENDPOINT": w.metadata(t, n.instance),
		}, []string{"200 ok", "403 UnauthorizedOperation"}},
		{"service account", map[string]string{
			"AWS_ROLE_ARN": "arn:aws:iam::111122223333:role/pod", "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ENDPOINT_URL_STS": w.url,
		}, []string{"403 UnauthorizedOperation", "403 UnauthorizedOperation"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			isolate(t, tt.env)
			t.Setenv("AWS_ENDPOINT_URL_EC2", w.url)
			c := defaultClient(t)
			outcome := func(err error) string { return fmt.Sprintf("%d %s", statusOf(err), codeOf(err)) }
			_, read := c.DescribeSubnets(t.Context(), &ec2.DescribeSubnetsInput{})
			_, write := c.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16"), DryRun: aws.Bool(true)})
			if diff := cmp.Diff(tt.want, []string{outcome(read), outcome(write)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestListenerIdentity: without verification a known key says who calls, an unknown one leaves it to the listener.
func TestListenerIdentity(t *testing.T) {
	w := start(t, vpcsim.Options{})
	role := w.store.Mint("444455556666", "node", "i-1", 1<<40)
	for _, tt := range []struct{ name, key, token, want string }{
		{"known", role.AccessKey, role.SessionToken, "444455556666"},
		{"unknown", "AKIAANYTHING", "", account},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := w.client(tt.key, "whatever", tt.token).CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
			must(t, err)
			if *v.Vpc.OwnerId != tt.want {
				t.Errorf("the VPC is %s's, want %s", *v.Vpc.OwnerId, tt.want)
			}
		})
	}
	var state struct{ Verify bool }
	if w.control(t, http.MethodGet, "signatures", "", &state); state.Verify {
		t.Error("signatures are verified by default")
	}
}
