package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// A generation is the maps that one Open has made, with the programs that read them. A new one is filled from nothing while the
// interfaces go on with the one before, and each interface changes over in one step, by Attach: its packets are judged by all of the
// old or by all of the new. What flows have passed is shared, so that connections live on; epochs go on counting, so that the new
// programs judge them again. So are answers of DNS that nobody has read yet.
//
//	DIR/flows-vSCHEMA/   flows, frags, answers
//	DIR/gen-N/           the other maps, pinned so that others can look
//	DIR/links/           what is attached by TCX

// shared are the maps that outlive a generation.
var shared = []string{"flows", "frags", "answers"}

const generationPrefix = "gen-"

func (d *Datapath) sharedDir() string { return filepath.Join(d.dir, "flows-v"+strconv.Itoa(Schema)) }
func (d *Datapath) linkDir() string   { return filepath.Join(d.dir, "links") }

// former is what an Open finds of those before.
type former struct {
	dirs       []string
	last       int // number
	interfaces map[uint32]uint32
	slots      map[uint32]policySlot
	epoch      uint32
}

// former reads what earlier generations say. One that was made by halves says what it can.
func (d *Datapath) former() (former, error) {
	found := former{interfaces: make(map[uint32]uint32), slots: make(map[uint32]policySlot)}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return found, fmt.Errorf("list generations of eBPF maps: %w", err)
	}
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), generationPrefix)
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		dir := filepath.Join(d.dir, e.Name())
		found.dirs, found.last = append(found.dirs, dir), max(found.last, n)
		if err := found.read(dir); err != nil {
			return found, err
		}
	}
	return found, nil
}

func (f *former) read(dir string) error {
	attached, err := ebpf.LoadPinnedMap(filepath.Join(dir, "interfaces"), nil)
	if err == nil {
		var ifindex, slot uint32
		entries := attached.Iterate()
		for entries.Next(&ifindex, &slot) {
			f.interfaces[ifindex] = slot
		}
		err = errors.Join(entries.Err(), attached.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read interfaces of %s: %w", dir, err)
	}
	if err := f.readSlots(dir); err != nil {
		return err
	}
	settings, err := ebpf.LoadPinnedMap(filepath.Join(dir, "settings"), nil)
	if err == nil {
		var value []byte
		if value, err = settings.LookupBytes(uint32(0)); err == nil && len(value) >= epochSize {
			f.epoch = max(f.epoch, binary.NativeEndian.Uint32(value))
		}
		err = errors.Join(err, settings.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings of %s: %w", dir, err)
	}
	return nil
}

// readSlots reads whose slots they are. Generations of other releases have none, or others.
func (f *former) readSlots(dir string) error {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, "slots"), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open slots of %s: %w", dir, err)
	}
	if int(m.ValueSize()) == binary.Size(policySlot{}) {
		var (
			slot  uint32
			value policySlot
		)
		entries := m.Iterate()
		for entries.Next(&slot, &value) {
			f.slots[slot] = value
		}
		err = entries.Err()
	}
	return errors.Join(err, m.Close())
}

// succeed takes over from earlier generations: which interfaces they judge, and their epoch. Their pins go; what is attached of them
// stays until Attach or Detach.
func (d *Datapath) succeed(f former) error {
	dir := filepath.Join(d.dir, generationPrefix+strconv.Itoa(f.last+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make folder for pins of eBPF: %w", err)
	}
	for _, ifindex := range slices.Sorted(maps.Keys(f.interfaces)) {
		slot := f.interfaces[ifindex]
		err := d.objects.Interfaces.Put(ifindex, slot)
		if err == nil && slot != exitSlot { // the former programs' packets may leave by new ones
			was, ok := f.slots[slot]
			if !ok {
				was.Ifindex = ifindex
			}
			err = d.objects.Slots.Put(slot, was)
		}
		if err != nil {
			return fmt.Errorf("take over interface %d: %w", ifindex, err)
		}
	}
	if err := d.setEpoch(f.epoch + 1); err != nil {
		return err
	}
	for name, m := range d.maps() {
		if err := m.Pin(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("pin eBPF map %s in %s: %w", name, dir, err)
		}
	}
	for _, old := range f.dirs {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("remove pins of an earlier generation: %w", err)
		}
	}
	return nil
}

// maps are those of a generation.
func (d *Datapath) maps() map[string]*ebpf.Map {
	o := &d.objects
	return map[string]*ebpf.Map{
		"interfaces": o.Interfaces, "settings": o.Settings, "pods": o.Pods, "peers": o.Peers, "blocks4": o.Blocks4, "blocks6": o.Blocks6,
		"slots": o.Slots, "services": o.Services, "rows": o.Rows, "ranges": o.Ranges, "counts": o.Counts, "reasons": o.Reasons, "events": o.Events,
	}
}
