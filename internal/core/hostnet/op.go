package hostnet

import "strconv"

// Op is one change of the host's network. Its String is the command that a person would type.
type Op interface {
	String() string
	op()
}

// The operations. Each bears repetition: adding what is there and deleting what is gone is success.
type (
	// SetMTU sets a link's MTU.
	SetMTU struct {
		Link string
		MTU  int
	}
	// SetUp sets a link up.
	SetUp struct{ Link string }
	// SetSysctl writes a kernel setting.
	SetSysctl struct{ Sysctl }
	// AddAddr adds an address to a link, without a route to its subnet.
	AddAddr struct{ Address }
	// DeleteAddr removes an address from a link.
	DeleteAddr struct{ Address }
	// ReplaceRoute adds a route or changes the one with the same destination, table and metric.
	ReplaceRoute struct{ Route }
	// DeleteRoute removes a route.
	DeleteRoute struct{ Route }
	// AddRule adds a rule.
	AddRule struct{ Rule }
	// DeleteRule removes a rule.
	DeleteRule struct{ Rule }
	// ReplaceTable replaces our nftables table, in one transaction.
	ReplaceTable struct{ Table *Table }
	// DeleteTable removes our nftables table.
	DeleteTable struct{}
)

func (SetMTU) op()       {}
func (SetUp) op()        {}
func (SetSysctl) op()    {}
func (AddAddr) op()      {}
func (DeleteAddr) op()   {}
func (ReplaceRoute) op() {}
func (DeleteRoute) op()  {}
func (AddRule) op()      {}
func (DeleteRule) op()   {}
func (ReplaceTable) op() {}
func (DeleteTable) op()  {}

// String prints the command.
func (o SetMTU) String() string { return "ip link set dev " + o.Link + " mtu " + strconv.Itoa(o.MTU) }

// String prints the command.
func (o SetUp) String() string { return "ip link set dev " + o.Link + " up" }

// String prints the command.
func (o SetSysctl) String() string { return o.Sysctl.String() }

// String prints the command.
func (o AddAddr) String() string { return "ip addr add " + o.Address.String() + " noprefixroute" }

// String prints the command.
func (o DeleteAddr) String() string { return "ip addr del " + o.Address.String() }

// String prints the command.
func (o ReplaceRoute) String() string { return "ip route replace " + o.Route.String() }

// String prints the command.
func (o DeleteRoute) String() string { return "ip route del " + o.Route.String() }

// String prints the command.
func (o AddRule) String() string { return "ip rule add " + o.Rule.String() }

// String prints the command.
func (o DeleteRule) String() string { return "ip rule del " + o.Rule.String() }

// String names the table; its text is that of Table.
func (o ReplaceTable) String() string { return "nft replace table ip " + o.Table.Name }

// String prints the command.
func (DeleteTable) String() string { return "nft delete table ip " + TableName }
