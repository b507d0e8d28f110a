package linux

// KeepExisting makes the host leave the rules of the Amazon VPC CNI alone, as if they could not be removed.
func (h *Host) KeepExisting() { h.existing.keep = true }

// RemoveFromLegacy takes any bytes for the content of a table of iptables-legacy.
func RemoveFromLegacy(data []byte, underflow uint32) {
	t := &legacyTable{entries: data}
	t.info.Hooks, t.info.Underflow[0] = 1, underflow
	_, _, _ = t.without()
}
