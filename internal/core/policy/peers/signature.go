package peers

import (
	"encoding/binary"
	"iter"
	"slices"
)

// Feature says that something matches an atom, by id. It has the port that a pod gives the name of the atom's, else zero.
type Feature uint64

// NewFeature is one of an id and a port.
func NewFeature(id uint32, port uint16) Feature { return Feature(id)<<16 | Feature(port) }

// ID is the atom's.
func (f Feature) ID() uint32 { return uint32(f >> 16) }

// Port is zero for an atom without the name of a port.
func (f Feature) Port() uint16 { return uint16(f) }

// Signature is a set of features, sorted. Signatures are values: what is written once stays.
type Signature []Feature

// NewSignature sorts features, each once.
func NewSignature(features []Feature) Signature {
	if len(features) == 0 {
		return nil
	}
	slices.Sort(features)
	return slices.Clip(slices.Compact(features))
}

// AppendKey appends what tells a signature from all others.
func (s Signature) AppendKey(to []byte) []byte {
	for _, f := range s {
		to = binary.BigEndian.AppendUint64(to, uint64(f))
	}
	return to
}

// Key is what AppendKey appends.
func (s Signature) Key() string { return string(s.AppendKey(make([]byte, 0, 8*len(s)))) }

// IDs are what the features are of, each once.
func (s Signature) IDs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i, f := range s {
			if (i == 0 || s[i-1].ID() != f.ID()) && !yield(f.ID()) {
				return
			}
		}
	}
}

// Difference are the ids of features that only one of both has. One may come twice.
func Difference(a, b Signature) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for len(a) > 0 || len(b) > 0 {
			switch {
			case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
				if !yield(a[0].ID()) {
					return
				}
				a = a[1:]
			case len(a) == 0 || b[0] < a[0]:
				if !yield(b[0].ID()) {
					return
				}
				b = b[1:]
			default:
				a, b = a[1:], b[1:]
			}
		}
	}
}
