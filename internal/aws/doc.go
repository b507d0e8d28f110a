// Package aws reads and changes network interfaces through EC2, and reads the instance metadata service (IMDS). It turns
// the SDK's values into those of core/vpc and decides nothing.
//
// Every error is a *vpc.Error, classified here and nowhere else. Every call has a deadline. Each EC2 action has a request
// budget of its own that shrinks when EC2 throttles it and grows back after successes, so that one throttled action never
// holds up another; waiting for it ends with the caller's context. A call is only repeated by itself when a second one can
// do no harm.
//
// What EC2 answers may be garbage. A list with a member that cannot be understood is refused as a whole where a missing
// member would mean "gone" to the caller.
package aws
