package ec2api_test

import (
	"reflect"
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

// TestEveryActionOfTheSimulatorIsServed: an action is an exported method that takes a Caller and a request.
func TestEveryActionOfTheSimulatorIsServed(t *testing.T) {
	sim := reflect.TypeFor[*vpcsim.Sim]()
	m := ec2api.New(vpcsim.New(vpcsim.Options{}))
	for f := range sim.Methods() {
		isAction := f.Type.NumIn() == 3 && f.Type.In(1) == reflect.TypeFor[vpcsim.Caller]() && f.Type.NumOut() == 2 &&
			f.Type.Out(1) == reflect.TypeFor[error]()
		if isAction && !m.Has(f.Name) {
			t.Errorf("%s is not served", f.Name)
		}
	}
}
