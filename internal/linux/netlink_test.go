package linux_test

import "github.com/vishvananda/netlink"

// setLinkNamespace moves a link of the present namespace.
func setLinkNamespace(name, newName string, fd int) error {
	l, err := netlink.LinkByName(name) //nolint:forbidigo // one link of a test's namespace, not a dump
	if err != nil {
		return err
	}
	if err := netlink.LinkSetName(l, newName); err != nil {
		return err
	}
	return netlink.LinkSetNsFd(l, fd)
}
