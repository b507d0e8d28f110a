package budget

import "strings"

// limit is a token bucket's: tokens per second, and tokens.
type limit struct{ rate, burst float64 }

// seedOf is what a healthy node needs of an action, by far not what the account has: the largest have 15 interfaces, each of
// which is created, attached and filled once.
func seedOf(action string) limit {
	if strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") {
		return limit{rate: 5, burst: 20}
	}
	return limit{rate: 2, burst: 16}
}

// accountOf is EC2's default bucket of an action, per account and region: what the nodes of a cluster share at best.
// Source: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html, August 2026.
func accountOf(action string) limit {
	switch action {
	case "AttachNetworkInterface", "DetachNetworkInterface":
		return limit{rate: 5, burst: 50}
	case "CreateTags", "DeleteTags":
		return limit{rate: 10, burst: 100}
	case "CreateSubnetCidrReservation", "DeleteSubnetCidrReservation":
		return limit{rate: 1, burst: 5}
	}
	if strings.HasPrefix(action, "Describe") || strings.HasPrefix(action, "Get") {
		return limit{rate: 20, burst: 100}
	}
	return limit{rate: 5, burst: 100}
}
