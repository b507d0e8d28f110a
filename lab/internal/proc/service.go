package proc

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Restart delays: a process that died at once is tried again after the first, then twice as long each time up to the
// second; one that lived longer than steady starts from the first again.
const (
	firstDelay = 250 * time.Millisecond
	lastDelay  = 10 * time.Second
	steady     = 20 * time.Second
)

// Service is a process that is started again whenever it ends by itself.
type Service struct {
	spawner *Spawner
	spec    Spec
	log     *slog.Logger
	stop    chan struct{}
	once    sync.Once
	ended   chan struct{}

	mu       sync.Mutex
	current  *Process
	restarts int
}

// Serve starts a service. The first start's error is returned; later ones are logged and tried again.
func (s *Spawner) Serve(spec Spec, log *slog.Logger) (*Service, error) {
	p, err := s.Start(spec)
	if err != nil {
		return nil, err
	}
	v := &Service{
		spawner: s, spec: spec, log: log, current: p,
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go v.keep(p)
	return v, nil
}

// Pid is the running process, or 0 between two.
func (v *Service) Pid() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.current == nil {
		return 0
	}
	return v.current.Pid()
}

// Restarts is how often it ended by itself and was started again.
func (v *Service) Restarts() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.restarts
}

// LogFile is where its output goes.
func (v *Service) LogFile() string { return v.spec.Log }

// Stop ends the service for good.
func (v *Service) Stop() error {
	v.once.Do(func() { close(v.stop) })
	<-v.ended
	v.mu.Lock()
	p := v.current
	v.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Stop()
}

// keep starts the process again until the service is stopped; it leaves the running process to Stop.
func (v *Service) keep(p *Process) {
	defer close(v.ended)
	delay := firstDelay
	for {
		started := time.Now()
		if p != nil {
			select {
			case <-v.stop:
				return
			case <-p.Done():
				v.log.Warn("process ended by itself", "process", v.spec.Name, "err", fmt.Sprint(p.err), "elapsed", time.Since(started))
			}
		}
		v.set(nil)
		if time.Since(started) > steady {
			delay = firstDelay
		}
		if !v.pause(delay) {
			return
		}
		delay = min(2*delay, lastDelay)
		var err error
		if p, err = v.spawner.Start(v.spec); err != nil {
			v.log.Error("process does not start", "process", v.spec.Name, "err", err)
			p = nil
			continue
		}
		v.set(p)
	}
}

func (v *Service) set(p *Process) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = p
	if p != nil {
		v.restarts++
	}
}

// pause waits, and reports whether the service is still wanted.
func (v *Service) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-v.stop:
		return false
	case <-timer.C:
		return true
	}
}
