package linux_test

import "github.com/vishvananda/netlink"

// setLinkNamespace moves a link of the present namespace.
func setLinkNamespace(name, newName string, fd int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetName(l, newName); err != nil {
		return err
	}
	return netlink.LinkSetNsFd(l, fd)
}
