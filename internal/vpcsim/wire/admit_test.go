package wire

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-net/berth/internal/vpcsim"
)

func TestDescribeCall(t *testing.T) {
	tests := []struct {
		name, form string
		want       vpcsim.Request
	}{
		{"bare describe", "Action=DescribeSubnets&Version=2016-11-15", vpcsim.Request{Action: "DescribeSubnets", Unfiltered: true}},
		{"presigned bare describe", "Action=DescribeSubnets&X-Amz-Date=1", vpcsim.Request{Action: "DescribeSubnets", Unfiltered: true}},
		{"filtered", "Action=DescribeSubnets&Filter.1.Name=a", vpcsim.Request{Action: "DescribeSubnets"}},
		{"paged", "Action=DescribeSubnets&MaxResults=5", vpcsim.Request{Action: "DescribeSubnets"}},
		{"by id", "Action=DescribeSubnets&SubnetId.1=a", vpcsim.Request{Action: "DescribeSubnets"}},
		{"launch", "Action=RunInstances&MinCount=1&MaxCount=3", vpcsim.Request{Action: "RunInstances", Resources: 3}},
		{"launch of nonsense", "Action=RunInstances&MaxCount=-3", vpcsim.Request{Action: "RunInstances"}},
		{"end", "Action=TerminateInstances&InstanceId.1=a&InstanceId.2=b", vpcsim.Request{Action: "TerminateInstances", Resources: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := url.ParseQuery(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, describeCall(form.Get("Action"), form)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
