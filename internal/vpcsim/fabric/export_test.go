package fabric

// Abandon ends what only lives in this process, as a crash would, and leaves the kernel as it is.
func (f *Fabric) Abandon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, stop := range f.services {
		_ = stop()
	}
	for _, h := range f.hubs {
		h.stop()
	}
	for _, s := range f.spaces {
		s.close()
	}
}
