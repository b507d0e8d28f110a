package linux

// KeepExisting makes the host leave the rules of the Amazon VPC CNI alone, as if they could not be removed.
func (h *Host) KeepExisting() { h.existing.keep = true }
