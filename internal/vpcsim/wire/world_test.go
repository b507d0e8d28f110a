package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/berth-net/berth/internal/core/vpc"
	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire"
	"github.com/berth-net/berth/internal/vpcsim/wire/eks"
	"github.com/berth-net/berth/internal/vpcsim/wire/imds"
	"github.com/berth-net/berth/internal/vpcsim/wire/sigv4"
)

const (
	account = "111122223333"
	region  = "us-west-2"
)

// world is a simulated region on the network.
type world struct {
	sim    *vpcsim.Sim
	server *wire.Server
	store  *sigv4.Store
	eks    *eks.Memory
	url    string
}

func start(t *testing.T, o vpcsim.Options) *world {
	t.Helper()
	o.Seed = 1
	w := &world{sim: vpcsim.New(o), store: sigv4.NewStore(time.Now)}
	w.eks = eks.NewMemory(time.Now, 0, eks.AddonVersion{
		Addon: "vpc-cni", Version: "v1.20.0", ClusterVersions: []string{"1.35"}, DefaultFor: []string{"1.35"}, Schema: eks.VPCCNISchema,
	})
	w.store.Add(sigv4.Credential{AccessKey: "AKIAOPERATOR", Secret: "secret", Account: account})
	w.server = wire.New(w.sim, wire.Options{Credentials: w.store, EKS: w.eks})
	w.url = serveTest(t, w.server)
	return w
}

func serveTest(t *testing.T, s *wire.Server) string {
	t.Helper()
	srv := httptest.NewServer(s.Handler(vpcsim.Caller{Account: account, Source: "operator"}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func (w *world) endpoint() string { return strings.TrimPrefix(w.url, "http://") }

// metadata serves an instance's metadata and returns its address.
func (w *world) metadata(t *testing.T, instance string) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(w.server.MetadataHandler(vpc.InstanceID(instance)))
	srv.Config.ConnContext = imds.ConnContext
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.URL
}

// client is the real SDK's, signing with a key.
func (w *world) client(key, secret, token string) *ec2.Client {
	return ec2.New(ec2.Options{
		Region:       region,
		BaseEndpoint: aws.String(w.url),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: token}, nil
		}),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
		}),
	})
}

func (w *world) operator() *ec2.Client { return w.client("AKIAOPERATOR", "secret", "") }

// once is a client that does not try again.
func (w *world) once() *ec2.Client {
	c := w.operator()
	o := c.Options()
	o.Retryer = aws.NopRetryer{}
	return ec2.New(o)
}

// codeOf is the code of an API error, or the error's text.
func codeOf(err error) string {
	if err == nil {
		return "ok"
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return err.Error()
}

type httpError interface {
	error
	HTTPStatusCode() int
}

func statusOf(err error) int {
	if e, ok := errors.AsType[httpError](err); ok {
		return e.HTTPStatusCode()
	}
	return http.StatusOK
}

// control uses a control endpoint; the answer is decoded into out unless it is nil. It returns the status.
func (w *world) control(t *testing.T, method, path, body string, out any) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+"/_berth/"+path, strings.NewReader(body))
	must(t, err)
	got := send(t, r)
	if out != nil {
		must(t, json.Unmarshal([]byte(got.body), out))
	}
	return got.status
}

// network is a VPC with a subnet and an instance.
type network struct {
	vpc, subnet, group, instance, eni string
}

func (w *world) network(t *testing.T) network {
	t.Helper()
	c, ctx := w.operator(), t.Context()
	var n network
	v, err := c.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	must(t, err)
	n.vpc = *v.Vpc.VpcId
	s, err := c.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &n.vpc, CidrBlock: aws.String("10.0.1.0/24"), AvailabilityZone: aws.String("us-west-2a")})
	must(t, err)
	n.subnet = *s.Subnet.SubnetId
	g, err := c.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{VpcId: &n.vpc, GroupName: aws.String("web"), Description: aws.String("d")})
	must(t, err)
	n.group = *g.GroupId
	r, err := c.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: types.InstanceTypeM5Large, MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		SubnetId: &n.subnet, SecurityGroupIds: []string{n.group}, UserData: aws.String("aGk="),
		IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("node")},
	})
	must(t, err)
	n.instance = *r.Instances[0].InstanceId
	n.eni = *r.Instances[0].NetworkInterfaces[0].NetworkInterfaceId
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
