package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/berth-net/berth/cmd/berth-agent/enforcement"
	"github.com/berth-net/berth/internal/core/hostnet"
	"github.com/berth-net/berth/internal/core/pool"
	"github.com/berth-net/berth/internal/core/profile"
)

// config is every setting of the agent, in the agent's own terms.
type config struct {
	ipam      pool.Config
	host      hostnet.Settings
	eniconfig profile.Keys

	logFile        string
	logLevel       slog.Level
	pluginLogFile  string
	pluginLogLevel string

	introspection        bool
	introspectionAddress string
	metrics              bool

	nodeName     string
	podName      string
	podNamespace string
	version      string
	kubeconfig   string
	endpoint     string // of the API server

	ec2Endpoint string
	httpTimeout time.Duration
	share       bool // follow the controller

	backingStore  string
	binDir        string
	confDir       string
	securityMode  string // podSGEnforcingMode of the conflist
	bandwidth     bool
	disablePodV6  bool
	noEarlyDemux  bool // init container only
	policy        enforcement.Options
	podMTUDefault bool
}

// policy is what happens when a variable has a value that is not allowed.
type policy string

const (
	stop policy = "the agent does not start"
	warn policy = "a warning; the default counts"
	skip policy = "a warning; bad items are left out"
)

// variable is one environment variable.
type variable struct {
	name string
	// def is the value that counts when the variable is not set or empty. It is the one that the manifest sets.
	def     string
	group   string
	allowed string // of the value, for people
	onBad   policy
	help    string
	// set reads a value; with an itemsError the good items have been taken.
	set func(c *config, value string) error
}

// itemsError says that some items of a list are bad.
type itemsError struct{ err error }

// Error implements error.
func (e itemsError) Error() string { return e.err.Error() }

// laterError says that a value asks for a feature that does not exist yet.
type laterError struct{ feature string }

// Error implements error.
func (e laterError) Error() string { return e.feature + " does not exist yet" }

// lookup returns the value of an environment variable.
type lookup func(name string) string

// readConfig reads every variable. The error names each bad one, so that one start shows them all.
func readConfig(env lookup) (c config, warnings []string, err error) {
	var errs []error
	for _, v := range variables() {
		if e := v.set(&c, v.def); e != nil {
			return c, nil, fmt.Errorf("%s: default %q: %w", v.name, v.def, e) // a test holds that there is none
		}
		value := env(v.name)
		if value == "" || value == v.def {
			continue
		}
		before := c
		e := v.set(&c, value)
		var later laterError
		var items itemsError
		switch {
		case e == nil:
		case errors.As(e, &later):
			errs = append(errs, fmt.Errorf("%s=%q: %w; allowed: %s", v.name, value, e, v.allowed))
		case v.onBad == skip && errors.As(e, &items):
			warnings = append(warnings, fmt.Sprintf("%s=%q: %v; bad items are left out; allowed: %s", v.name, value, e, v.allowed))
		case v.onBad == stop:
			errs = append(errs, fmt.Errorf("%s=%q: %w; allowed: %s", v.name, value, e, v.allowed))
		default:
			c = before
			warnings = append(warnings, fmt.Sprintf("%s=%q: %v; the default %q counts; allowed: %s", v.name, value, e, v.def, v.allowed))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, warnings, fmt.Errorf("the environment of container aws-node cannot be used:\n%w", err)
	}
	c.derive()
	return c, warnings, nil
}

// derive settles what follows from several variables.
func (c *config) derive() {
	if c.podMTUDefault {
		c.host.PodMTU = c.host.ENIMTU
	}
	c.policy.On = c.policy.On && c.policy.Mode != "none"
	if !c.ipam.ReadEC2 {
		c.ipam.Provision = false
	}
	if !c.ipam.Provision {
		c.ipam.CleanLeaked = false
	}
}
