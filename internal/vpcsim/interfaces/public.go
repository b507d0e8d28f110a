package interfaces

import (
	"net/netip"

	"github.com/berth-net/berth/internal/vpcsim/world"
)

// Associate gives an interface's private address an elastic one.
func (s Actions) Associate(a *world.Address, e *world.ENI, private netip.Addr) {
	a.ENI, a.Private, a.Association = e.ID, private, s.NewID(world.KindAssociation)
	if e.Public == nil {
		e.Public = make(map[netip.Addr]world.Public)
	}
	e.Public[private] = world.Public{IP: a.IP, Allocation: a.ID, Association: a.Association}
}

// DropPublic takes the public address of a private one away: an elastic one remains allocated, another is gone.
func (s Actions) DropPublic(e *world.ENI, private netip.Addr) {
	p, ok := e.Public[private]
	if !ok {
		return
	}
	delete(e.Public, private)
	if a, elastic := s.State.Addresses.Get(p.Allocation); elastic {
		a.ENI, a.Private, a.Association = "", netip.Addr{}, ""
	} else {
		delete(s.Publics, p.IP)
	}
}

// GivePublic gives an interface's primary address a public one that goes with the interface.
func (s Actions) GivePublic(e *world.ENI) error {
	ip, err := s.NewPublic()
	if err != nil {
		return err
	}
	e.Public = map[netip.Addr]world.Public{e.Addresses[0]: {IP: ip}}
	return nil
}
