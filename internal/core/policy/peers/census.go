package peers

// Census counts what an index keeps, so that tests see what it fails to forget.
func (x *Index) Census() map[string]int {
	n := map[string]int{
		"namespaces": len(x.namespaces), "nodes": len(x.nodes), "names": len(x.names), "pods": len(x.pods), "facts": len(x.facts),
		"loose": len(x.loose), "entries": len(x.entries), "together": len(x.together), "atoms": len(x.atoms), "atoms by id": len(x.byID),
		"inside": len(x.inside), "across": len(x.across), "others": len(x.others),
	}
	for _, ns := range x.namespaces {
		n["facts of namespaces"] += len(ns.facts)
		n["atoms of namespaces"] += len(ns.across)
	}
	for _, f := range x.facts {
		n["references of facts"] += f.refs
		n["features of facts"] += len(f.sig)
		n["groups"] += len(f.with)
		if f.alone != nil {
			n["groups"]++
		}
	}
	for _, a := range x.atoms {
		n["references of atoms"] += a.refs
	}
	return n
}
