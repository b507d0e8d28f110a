package workload_test

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/berth-net/berth/lab/internal/workload"
)

func TestManifestIsTheDeployment(t *testing.T) {
	d := workload.Deployment{Name: "web", Replicas: 4, Select: "app: web", More: "of: shop", Spread: "DoNotSchedule", Servers: true}
	for _, tt := range []struct {
		d          workload.Deployment
		containers string
		spread     int
	}{{d, "web", 1}, {workload.Deployment{Name: "web", Replicas: 4, Select: "app: web", More: "of: shop"}, "pause", 0}} {
		var got struct {
			Spec struct {
				Replicas int
				Selector struct{ MatchLabels map[string]string }
				Template struct {
					Metadata struct{ Labels map[string]string }
					Spec     struct {
						TopologySpreadConstraints []struct{ WhenUnsatisfiable string }
						Containers                []struct{ Name, Image string }
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(tt.d.String()), &got); err != nil {
			t.Fatal(err)
		}
		pods := got.Spec.Template
		if got.Spec.Replicas != 4 || got.Spec.Selector.MatchLabels["app"] != "web" || pods.Metadata.Labels["app"] != "web" || pods.Metadata.Labels["of"] != "shop" ||
			len(pods.Spec.Containers) != 1 || pods.Spec.Containers[0].Name != tt.containers || len(pods.Spec.TopologySpreadConstraints) != tt.spread {
			t.Errorf("%+v", got)
		}
	}
}
