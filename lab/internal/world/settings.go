package world

import (
	"time"

	"github.com/berth-net/berth/internal/vpcsim"
	"github.com/berth-net/berth/internal/vpcsim/pacing"
)

// Settings are those that a lab starts with: a calm day of EC2, with the delays that a caller can notice and without
// throttling. `lab fault` and `lab settings` change them while it runs.
func Settings() vpcsim.Settings {
	ms := func(p50, p99 int) pacing.Distribution {
		return pacing.Distribution{P50: time.Duration(p50) * time.Millisecond, P99: time.Duration(p99) * time.Millisecond}
	}
	return vpcsim.Settings{
		Latency: map[string]pacing.Distribution{
			"*":                        ms(40, 120),
			"CreateNetworkInterface":   ms(300, 800),
			"AttachNetworkInterface":   ms(300, 800),
			"AssignPrivateIpAddresses": ms(150, 400),
			"DetachNetworkInterface":   ms(200, 600),
		},
		Attach: ms(600, 1500), Detach: ms(1500, 4000),
		AssociateBlock: ms(250, 400), LaunchInstance: ms(500, 1000), TerminateInstance: ms(500, 1000), CreateNATGateway: ms(1000, 2000),
		DescribeLag: ms(50, 300), FreeCountLag: ms(100, 500), MetadataAdd: ms(300, 1200), MetadataRemove: ms(300, 1200),
	}
}
