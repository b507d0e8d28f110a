package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/berth-net/berth/internal/core/target"
	"github.com/berth-net/berth/internal/core/vpc"
)

// The setters of variable.set, one per kind of value.

type setter = func(*config, string) error

func boolean(field func(*config) *bool) setter {
	return func(c *config, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("not a boolean")
		}
		*field(c) = b
		return nil
	}
}

// negated reads a DISABLE_ variable into a positive setting.
func negated(field func(*config) *bool) setter {
	return func(c *config, value string) error {
		var b bool
		if err := boolean(func(*config) *bool { return &b })(c, value); err != nil {
			return err
		}
		*field(c) = !b
		return nil
	}
}

// only takes one value of a boolean: the other asks for a feature that does not exist yet.
func only(want bool, feature string) setter {
	return func(_ *config, value string) error {
		b, err := strconv.ParseBool(value)
		if err != nil {
			return errors.New("not a boolean")
		}
		if b != want {
			return laterError{feature}
		}
		return nil
	}
}

// warmTarget reads a target; without a value it is left open.
func warmTarget(field func(*config) *int) setter {
	return func(c *config, value string) error {
		if value == "" {
			*field(c) = target.NotSet
			return nil
		}
		return integer(0, maxInt, field)(c, value)
	}
}

// nodeKey reads the key of a label or an annotation.
func nodeKey(field func(*config) *string) setter {
	return func(c *config, value string) error {
		if problems := content.IsLabelKey(value); len(problems) > 0 {
			return fmt.Errorf("not the key of a label: %s", strings.Join(problems, "; "))
		}
		*field(c) = value
		return nil
	}
}

func integer(least, greatest int, field func(*config) *int) setter {
	return func(c *config, value string) error {
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
			return errors.New("not a whole number")
		case n < least:
			return fmt.Errorf("below %d", least)
		case n > greatest:
			return fmt.Errorf("above %d", greatest)
		}
		*field(c) = n
		return nil
	}
}

func seconds(least, greatest int, field func(*config) *time.Duration) setter {
	return func(c *config, value string) error {
		var n int
		if err := integer(least, greatest, func(*config) *int { return &n })(c, value); err != nil {
			return err
		}
		*field(c) = time.Duration(n) * time.Second
		return nil
	}
}

func text(field func(*config) *string) setter {
	return func(c *config, value string) error {
		*field(c) = value
		return nil
	}
}

// unused reads a variable without a meaning: that of a feature that is refused, or of one that is no choice any more.
func unused(*config, string) error { return nil }

func choice(field func(*config) *string, values ...string) setter {
	return func(c *config, value string) error {
		for _, v := range values {
			if strings.EqualFold(v, value) {
				*field(c) = v
				return nil
			}
		}
		return errors.New("not one of the allowed values")
	}
}

// prefixes reads IPv4 prefixes. Bad items are left out, as are those of IPv6.
func prefixes(field func(*config) *[]netip.Prefix) setter {
	return func(c *config, value string) error {
		var good []netip.Prefix
		var bad []error
		for item := range strings.SplitSeq(value, ",") {
			item = strings.TrimSpace(item)
			if item == "" {
				continue
			}
			p, err := netip.ParsePrefix(item)
			switch {
			case err != nil:
				bad = append(bad, fmt.Errorf("%q is no CIDR", item))
			case !p.Addr().Is4():
				bad = append(bad, fmt.Errorf("%q is no IPv4 CIDR", item))
			case !slices.Contains(good, p.Masked()):
				good = append(good, p.Masked())
			}
		}
		*field(c) = good
		if len(bad) > 0 {
			return itemsError{errors.Join(bad...)}
		}
		return nil
	}
}

// reservedTag is in the keys of tags that are ours or Kubernetes' own.
const reservedTag = "k8s.amazonaws.com"

func extraTags(c *config, value string) error {
	tags := vpc.Tags{}
	if err := json.Unmarshal([]byte(value), &tags); err != nil {
		return fmt.Errorf("not a JSON object of strings: %w", err)
	}
	var bad []error
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if strings.Contains(key, reservedTag) {
			bad = append(bad, fmt.Errorf("key %q has the reserved %s in it", key, reservedTag))
			delete(tags, key)
		}
	}
	c.ipam.ExtraTags = tags
	if len(tags) == 0 {
		c.ipam.ExtraTags = nil
	}
	if len(bad) > 0 {
		return itemsError{errors.Join(bad...)}
	}
	return nil
}

func connMark(c *config, value string) error {
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil || n == 0 {
		return errors.New("not a mark of 32 bits")
	}
	c.host.ConnMark = uint32(n)
	return nil
}

func vethPrefix(c *config, value string) error {
	switch {
	case len(value) > 4:
		return errors.New("longer than 4 characters")
	case value == "eth" || value == "lo" || value == "vlan":
		return errors.New("a prefix of other interfaces")
	case strings.ContainsAny(value, "/: \t"):
		return errors.New("not the beginning of an interface name")
	}
	c.host.VethPrefix = value
	return nil
}

// errStdout: the runtime reads the plugin's result there.
var errStdout = errors.New("standard output is for the plugin's result")
