package peers

import "slices"

// Update matches what has changed since the last one, and answers the ids of atoms that nobody has any more. They are in signatures
// of cells as they were, until Done.
func (x *Index) Update() (gone []uint32) {
	x.updates++
	u := update{x: x, inside: make(map[string][]*atom), gone: make(map[uint32]bool)}
	for _, a := range x.dirty.atoms {
		switch {
		case a.refs > 0 && !a.linked:
			a.linked = true
			u.came(a)
		case a.refs == 0 && x.byID[a.id] == a && !u.gone[a.id] && !slices.Contains(x.dirty.gone, a.id):
			u.gone[a.id] = true
			x.dirty.gone = append(x.dirty.gone, a.id)
		}
	}
	x.dirty.atoms = x.dirty.atoms[:0]
	u.relist()
	u.match()
	x.regroup()
	return x.dirty.gone
}

// update is what atoms came and went.
type update struct {
	x      *Index
	inside map[string][]*atom // that came, as in Index
	across []*atom
	others []*atom
	gone   map[uint32]bool
}

func (u *update) came(a *atom) {
	switch {
	case a.pods == nil:
		u.others = append(u.others, a)
	case a.pods.Namespace != "":
		u.inside[a.pods.Namespace] = append(u.inside[a.pods.Namespace], a)
	default:
		u.across = append(u.across, a)
	}
}

// relist adds the atoms that came to the lists and takes out those that went.
func (u *update) relist() {
	x := u.x
	for name, atoms := range u.inside {
		x.inside[name] = append(x.inside[name], atoms...)
	}
	for id := range u.gone {
		a := x.byID[id]
		a.linked = false
		if a.pods == nil || a.pods.Namespace == "" {
			continue
		}
		name := a.pods.Namespace
		if x.inside[name] = u.live(x.inside[name]); len(x.inside[name]) == 0 {
			delete(x.inside, name)
		}
	}
	x.across, x.others = u.live(append(x.across, u.across...)), u.live(append(x.others, u.others...))
}

// live are the atoms of a list that have not gone.
func (u *update) live(atoms []*atom) []*atom {
	if len(u.gone) == 0 {
		return atoms
	}
	return slices.DeleteFunc(atoms, func(a *atom) bool { return u.gone[a.id] })
}

// match brings the signatures of facts up to date.
func (u *update) match() {
	x := u.x
	for _, ns := range x.dirty.spaces {
		u.matchNamespace(ns)
	}
	if len(u.inside)+len(u.across)+len(u.others)+len(u.gone) > 0 {
		for _, ns := range x.namespaces {
			u.matchNamespace(ns)
		}
		for _, f := range x.loose {
			u.rematch(f, u.others)
		}
	}
	for _, f := range x.dirty.facts {
		if f.isNew {
			u.matchAll(f)
		}
	}
	x.dirty.facts = x.dirty.facts[:0]
}

// matchNamespace matches the facts of a namespace with the atoms that came; with all, if its labels have changed.
func (u *update) matchNamespace(ns *namespace) {
	if ns.matched == u.x.updates {
		return
	}
	ns.matched = u.x.updates
	if ns.stale {
		ns.stale, ns.across = false, nil
		for _, a := range u.x.across {
			if a.fits(ns) {
				ns.across = append(ns.across, a)
			}
		}
		for f := range ns.facts {
			u.matchAll(f)
		}
		return
	}
	ns.across = u.live(ns.across)
	came := slices.Clip(u.inside[ns.name])
	for _, a := range u.across {
		if a.fits(ns) {
			came = append(came, a)
			ns.across = append(ns.across, a)
		}
	}
	if len(came)+len(u.gone) == 0 {
		return
	}
	for f := range ns.facts {
		u.rematch(f, came)
	}
}

// rematch brings one signature up to date: it loses what went and is matched with what came.
func (u *update) rematch(f *Fact, came []*atom) {
	if f.isNew {
		return
	}
	features := u.x.scratch.features[:0]
	for _, have := range f.sig {
		if !u.gone[have.ID()] {
			features = append(features, have)
		}
	}
	lost := len(features) < len(f.sig)
	kept := len(features)
	for _, a := range came {
		features = a.appendFeatures(features, f)
	}
	u.x.scratch.features = features
	if lost || len(features) > kept {
		u.set(f, NewSignature(slices.Clone(features)))
	}
}

// matchAll makes a signature from nothing.
func (u *update) matchAll(f *Fact) {
	f.isNew = false
	atoms := [...][]*atom{u.x.others, nil}
	if f.space != nil {
		atoms = [...][]*atom{u.x.inside[f.space.name], f.space.across}
	}
	features := u.x.scratch.features[:0]
	for _, list := range atoms {
		for _, a := range list {
			features = a.appendFeatures(features, f)
		}
	}
	u.x.scratch.features = features
	if sig := NewSignature(slices.Clone(features)); !slices.Equal(sig, f.sig) {
		u.set(f, sig)
	}
}

func (u *update) set(f *Fact, sig Signature) {
	f.sig = sig
	u.x.list(f.alone)
	for _, g := range f.with {
		u.x.list(g)
	}
}
