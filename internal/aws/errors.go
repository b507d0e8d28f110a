package aws

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/berth-net/berth/internal/core/vpc"
)

// codes maps EC2's error codes. Those that are not in it are classified by their form: see codeOf.
// Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
var codes = map[string]vpc.Code{
	"RequestLimitExceeded":           vpc.Throttled,
	"Throttling":                     vpc.Throttled,
	"ThrottlingException":            vpc.Throttled,
	"ThrottledException":             vpc.Throttled,
	"RequestThrottled":               vpc.Throttled,
	"RequestThrottledException":      vpc.Throttled,
	"TooManyRequestsException":       vpc.Throttled,
	"EC2ThrottledException":          vpc.Throttled,
	"BandwidthLimitExceeded":         vpc.Throttled,
	"SlowDown":                       vpc.Throttled,
	"PriorRequestNotComplete":        vpc.Throttled,
	"TransactionInProgressException": vpc.Throttled,

	"InsufficientFreeAddressesInSubnet": vpc.SubnetFull,
	"InsufficientCidrBlocks":            vpc.PrefixFragmented,

	"PrivateIpAddressLimitExceeded": vpc.LimitReached,
	"AttachmentLimitExceeded":       vpc.LimitReached,
	"NetworkInterfaceLimitExceeded": vpc.LimitReached,
	"TagLimitExceeded":              vpc.LimitReached,
	"ResourceLimitExceeded":         vpc.LimitReached,

	"SecurityGroupsPerInterfaceLimitExceeded": vpc.TooManyGroups,

	"InvalidIPAddress.InUse": vpc.AddressTaken,
	"PrivateIPAddressInUse":  vpc.AddressTaken,

	"InvalidNetworkInterface.InUse": vpc.InUse,
	"IncorrectState":                vpc.InUse,
	"IncorrectInstanceState":        vpc.InUse,
	"DependencyViolation":           vpc.InUse,
	"ResourceInUse":                 vpc.InUse,

	"UnauthorizedOperation":       vpc.NotAuthorized,
	"AccessDenied":                vpc.NotAuthorized,
	"AccessDeniedException":       vpc.NotAuthorized,
	"AuthFailure":                 vpc.NotAuthorized,
	"SignatureDoesNotMatch":       vpc.NotAuthorized,
	"InvalidClientTokenId":        vpc.NotAuthorized,
	"UnrecognizedClientException": vpc.NotAuthorized,
	"MissingAuthenticationToken":  vpc.NotAuthorized,
	"ExpiredToken":                vpc.NotAuthorized,
	"ExpiredTokenException":       vpc.NotAuthorized,
	"RequestExpired":              vpc.NotAuthorized,
	"OptInRequired":               vpc.NotAuthorized,
	"Blocked":                     vpc.NotAuthorized,
	"PendingVerification":         vpc.NotAuthorized,

	"IdempotentParameterMismatch": vpc.Invalid,
	"MissingParameter":            vpc.Invalid,
	"MissingAction":               vpc.Invalid,
	"UnknownParameter":            vpc.Invalid,
	"ValidationError":             vpc.Invalid,
	"OperationNotPermitted":       vpc.Invalid,
	"UnsupportedOperation":        vpc.Invalid,
	"Unsupported":                 vpc.Invalid,

	"InternalError":      vpc.Internal,
	"InternalFailure":    vpc.Internal,
	"Unavailable":        vpc.Internal,
	"ServiceUnavailable": vpc.Internal,
	"RequestTimeout":     vpc.Internal,
}

// texts classifies codes that stand for several things by their message, in lower case.
var texts = []struct {
	code, part string
	is         vpc.Code
}{
	// CreateNetworkInterface in a subnet without room for its addresses or prefixes; codeOf says which of the two it is.
	{"InvalidParameterValue", "sufficient free ipv4 addresses or prefixes", vpc.SubnetFull},
	{"InvalidParameterValue", "is currently in use", vpc.InUse},
	{"InvalidParameterValue", "already has an interface attached", vpc.InUse},
	// A named address or prefix. What is assigned to another interface could be moved, which is never
	// asked for.
	{"InvalidParameterValue", "address is in use", vpc.AddressTaken},
	{"InvalidParameterValue", "addresses that are in use", vpc.AddressTaken},
	{"InvalidParameterValue", "move is not allowed", vpc.AddressTaken},
}

// classify turns an error of the SDK into the project's, and returns EC2's code.
func classify(o op, err error) (*vpc.Error, string) {
	e := &vpc.Error{Code: vpc.Internal, Op: o.action, Subject: o.subject, Err: err}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			e.Hint = "EC2 did not answer in time: check the route to its endpoint"
		}
		return e, ""
	}
	e.Code = codeOf(api.ErrorCode(), api.ErrorMessage())
	if e.Code == vpc.SubnetFull && o.prefixes {
		// Asked for prefixes, EC2 says that there are not enough free addresses when fewer than 16 a prefix are left, and
		// CreateNetworkInterface does not tell that from a subnet without a whole /28. Single addresses may be left in both: to
		// take the subnet for full would let pods wait beside them, to take a full one for fragmented costs one more call, whose
		// answer is beyond doubt.
		e.Code = vpc.PrefixFragmented
	}
	if e.Code == vpc.Invalid && o.action == "CreateSubnetCidrReservation" && overlaps(api.ErrorMessage()) {
		e.Code = vpc.AddressTaken
	}
	e.Hint = hint(e.Code, o)
	return e, api.ErrorCode()
}

func codeOf(code, message string) vpc.Code {
	lower := strings.ToLower(message)
	for _, t := range texts {
		if t.code == code && strings.Contains(lower, t.part) {
			return t.is
		}
	}
	if c, ok := codes[code]; ok {
		return c
	}
	switch {
	case strings.HasSuffix(code, ".NotFound"):
		return vpc.NotFound
	case strings.HasSuffix(code, ".InUse"):
		return vpc.InUse
	case strings.HasSuffix(code, "LimitExceeded"):
		return vpc.LimitReached
	case strings.HasPrefix(code, "Invalid"), strings.HasSuffix(code, ".Malformed"):
		return vpc.Invalid
	}
	return vpc.Internal
}

// overlaps tells whether a reservation was refused for another one. EC2 documents neither the code nor the words.
func overlaps(message string) bool {
	lower := strings.ToLower(message)
	return strings.Contains(lower, "overlap") || strings.Contains(lower, "conflict")
}

func hint(c vpc.Code, o op) string {
	switch c {
	case vpc.NotAuthorized:
		return "allow ec2:" + o.action + " in the IAM role of aws-node"
	case vpc.PrefixFragmented:
		return "the subnet has no whole /28 left; single addresses may be: reserve a part of it for prefixes, or add a subnet"
	case vpc.TooManyGroups:
		return "name fewer security groups, or raise the account's quota of them for an interface, 16 at most"
	case vpc.SubnetFull:
		return "add a subnet of this zone with the tag " + vpc.TagCNIRole + "=1"
	case vpc.Throttled:
		return "EC2 throttles this action in the account and region; it is tried again by itself"
	default:
		return ""
	}
}

// garbage is the error of an answer that cannot be understood.
func garbage(o op, err error) *vpc.Error {
	return &vpc.Error{Code: vpc.Internal, Op: o.action, Subject: o.subject, Err: err, Hint: "the answer is not what EC2 documents"}
}
