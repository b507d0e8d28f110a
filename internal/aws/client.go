package aws

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/berth-net/berth/internal/core/budget"
	"github.com/berth-net/berth/internal/core/vpc"
)

// Config is how to reach EC2 and IMDS. Credentials, and endpoints that Endpoint does not say, come from where the SDK
// looks for them: AWS_* variables, web identity, the instance's role.
type Config struct {
	Region string
	// Endpoint replaces EC2's URL when it is set (AWS_EC2_ENDPOINT).
	Endpoint string
	// Version ends the user agent (VPC_CNI_VERSION).
	Version string
	// Node spreads the attempts of nodes that are throttled together; another one on each. A random one when it is empty.
	Node string
	// HTTPTimeout bounds one attempt of a call (HTTP_TIMEOUT).
	HTTPTimeout time.Duration
	// Observe, unless it is nil, is told of every attempt, from any goroutine.
	Observe func(Call)
}

// Call describes one attempt of an EC2 action.
type Call struct {
	Action  string
	Err     *vpc.Error // nil on success
	Wire    string     // EC2's own error code, empty on success or without an answer
	Status  int        // HTTP status, 0 without an answer
	Elapsed time.Duration
}

// Client is EC2.
type Client struct {
	ec2     *ec2.Client
	limits  *limits
	timeout time.Duration
	pause   time.Duration // before an attempt that follows one that failed for a reason that passes
	observe func(Call)
}

const (
	defaultHTTPTimeout = 10 * time.Second
	// callTimeout bounds a call with all its attempts when the caller sets no deadline.
	callTimeout = time.Minute
	userAgent   = "amazon-vpc-cni-k8s"
)

// New returns a client of EC2. It does not talk to it yet.
func New(ctx context.Context, c Config) (*Client, error) {
	cfg, err := load(ctx, c)
	if err != nil {
		return nil, err
	}
	client := ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		o.Retryer = sdk.NopRetryer{} // attempts are ours: see call
		o.HTTPClient = checkedBody{next: o.HTTPClient}
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
	})
	return newClient(client, c), nil
}

func newClient(client *ec2.Client, c Config) *Client {
	if c.Node == "" {
		c.Node = crand.Text()
	}
	out := &Client{ec2: client, limits: newLimits(c.Node), timeout: c.HTTPTimeout, pause: 200 * time.Millisecond, observe: c.Observe}
	if out.timeout <= 0 {
		out.timeout = defaultHTTPTimeout
	}
	if out.observe == nil {
		out.observe = func(Call) {}
	}
	return out
}

func load(ctx context.Context, c Config) (sdk.Config, error) {
	timeout := c.HTTPTimeout
	if timeout <= 0 {
		timeout = defaultHTTPTimeout
	}
	httpClient := awshttp.NewBuildableClient().WithTimeout(timeout).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConnsPerHost = 4
	})
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithHTTPClient(httpClient),
		config.WithRegion(c.Region),
		config.WithAPIOptions([]func(*smithymiddleware.Stack) error{middleware.AddUserAgentKeyValue(userAgent, c.Version)}),
	)
	if err != nil {
		return sdk.Config{}, fmt.Errorf("load AWS configuration: %w", err)
	}
	return cfg, nil
}

// op is what a call does and to what.
type op struct {
	action  string
	subject string
	// once is set when a second call after an unknown outcome could do harm.
	once bool
	// prefixes is set when prefixes are asked for.
	prefixes bool
}

const (
	maxThrottled = 3 // attempts that EC2 may throttle before the caller is told
	maxTransient = 3 // attempts that may fail for a reason that passes
)

// call makes the attempts of one call.
func call[T any](ctx context.Context, c *Client, o op, attempt func(context.Context) (T, error)) (T, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	throttled, transient := 0, 0
	var last *vpc.Error
	for {
		turn, refused := c.limits.wait(ctx, o.action)
		if refused != nil {
			var none T
			return none, inDoubt(notMade(o, refused, last, c.limits.throttled(o.action)), transient > 0)
		}
		out, err := try(ctx, c, o, turn, attempt)
		if err == nil {
			return out, nil
		}
		last = err
		switch {
		case err.Code == vpc.Throttled:
			throttled++
		case err.Code == vpc.Internal && !o.once:
			transient++
		default:
			return out, inDoubt(err, transient > 0)
		}
		if throttled >= maxThrottled {
			err.Until = c.limits.next(o.action, budget.From(ctx))
		}
		if throttled >= maxThrottled || transient >= maxTransient || ctx.Err() != nil {
			return out, inDoubt(err, transient > 0)
		}
		if err.Code == vpc.Internal {
			pause(ctx, time.Duration(float64(c.pause)*(1+rand.Float64())))
		}
	}
}

// inDoubt makes an error one of unknown outcome when an earlier try of the same call had none, or had its effect: that a
// later one was throttled or denied, as when credentials expire in between, does not tell that nothing happened.
func inDoubt(err *vpc.Error, unknown bool) *vpc.Error {
	if !unknown || err.Code != vpc.Throttled && err.Code != vpc.NotAuthorized {
		return err
	}
	doubt := *err
	doubt.Code, doubt.Hint = vpc.Internal, "an earlier try of the call may have had its effect"
	return &doubt
}

// notMade is the error of a call whose next attempt does not leave, after the error of the last one that did, if any.
func notMade(o op, err error, last *vpc.Error, throttled bool) *vpc.Error {
	var until time.Time
	held, isHeld := errors.AsType[*budget.HeldError](err)
	switch {
	case isHeld && (last == nil || last.Code == vpc.Throttled):
		err, until = held, held.Until
		if last != nil {
			err = errors.Join(last.Err, held)
		}
	case last != nil:
		return last
	case !throttled:
		return &vpc.Error{Code: vpc.Internal, Op: o.action, Subject: o.subject, Err: err}
	}
	return &vpc.Error{
		Code: vpc.Throttled, Op: o.action, Subject: o.subject, Err: err, Until: until,
		Hint: "EC2 throttles this action in the account and region; it is tried again by itself",
	}
}

func try[T any](ctx context.Context, c *Client, o op, turn *budget.Call, attempt func(context.Context) (T, error)) (T, *vpc.Error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	start := time.Now()
	out, err := attempt(ctx)
	observed := Call{Action: o.action, Elapsed: time.Since(start), Status: http.StatusOK}
	if err == nil {
		c.limits.done(turn, budget.Succeeded)
		c.observe(observed)
		return out, nil
	}
	observed.Err, observed.Wire = classify(o, err)
	observed.Status = 0
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		observed.Status = response.HTTPStatusCode()
	}
	answer := budget.Unknown
	if observed.Err.Code == vpc.Throttled {
		answer = budget.Throttled
	}
	c.limits.done(turn, answer)
	c.observe(observed)
	return out, observed.Err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
