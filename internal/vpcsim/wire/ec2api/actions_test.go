package ec2api_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2api"
	"github.com/berth-net/berth/internal/vpcsim/wire/ec2query"
)

// TestEveryOperationIsServed also proves that each structure of the simulator matches the SDK's: New panics otherwise.
func TestEveryOperationIsServed(t *testing.T) {
	m := ec2api.New(vpcsim.New(vpcsim.Options{}))
	if diff := cmp.Diff(ec2query.TableOperations(), m.Operations()); diff != "" {
		t.Errorf("operations.txt against what is registered (-listed +served):\n%s", diff)
	}
}
