package checkpoint

// SetPort tells where versions of the other CNI before 1.23 listen.
func (f *File) SetPort(address string) { f.port = address }
