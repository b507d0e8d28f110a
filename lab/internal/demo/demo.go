// Package demo tells the stories that the project is about, on a real lab with the real clients, and checks each thing
// that it says: it ends well only when all of it was so.
package demo

import (
	"bytes"
	"context"
	_ "embed" // the files that a story applies
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed cluster.yaml
var clusterFile []byte

//go:embed inflate.yaml
var inflateFile []byte

// Lab is the lab as a story uses it.
type Lab interface {
	// Up makes the cluster of a file; Down takes everything away.
	Up(ctx context.Context, file string) error
	Down(ctx context.Context) error
	// Env are the variables that the real clients need.
	Env(ctx context.Context) ([]string, error)
	// VPC gives an order to the simulated VPC.
	VPC(ctx context.Context, method, path string, in, out any) error
}

// Story is a run of one.
type Story struct {
	Lab Lab
	Out io.Writer
	// Programs is a folder with aws and kubectl; Dir one for the files of the story.
	Programs, Dir string
	// Terminal tells that Out is one: a line may be written over.
	Terminal bool

	env     []string
	checked int
	line    bool // a progress line is on the screen
}

// tell prints a paragraph of the story.
func (s *Story) tell(format string, args ...any) {
	s.endLine()
	_, _ = fmt.Fprintf(s.Out, "\n== "+format+"\n", args...)
}

func (s *Story) print(text string) {
	s.endLine()
	_, _ = fmt.Fprintln(s.Out, strings.TrimRight(text, "\n"))
}

// progress shows how far something is, over the last such line on a terminal.
func (s *Story) progress(format string, args ...any) {
	if !s.Terminal {
		return
	}
	_, _ = fmt.Fprintf(s.Out, "\r\033[K   "+format, args...)
	s.line = true
}

func (s *Story) endLine() {
	if s.line {
		_, _ = fmt.Fprintln(s.Out)
		s.line = false
	}
}

// claim is something that the story says; when it is not so the story ends.
func (s *Story) claim(ok bool, format string, args ...any) error {
	said := fmt.Sprintf(format, args...)
	if !ok {
		s.print("   NOT SO: " + said)
		return errors.New("not so: " + said)
	}
	s.checked++
	s.print("   checked: " + said)
	return nil
}

// run runs a client as a user types it, shows both, and returns what it printed.
func (s *Story) run(ctx context.Context, command ...string) (string, error) {
	s.print("$ " + line(command))
	out, err := s.quiet(ctx, command...)
	if err == nil && out != "" {
		s.print(indent(out))
	}
	return out, err
}

// quiet runs a client without showing it.
func (s *Story) quiet(ctx context.Context, command ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Programs, command[0]), command[1:]...)
	cmd.Env = append([]string{"PATH=" + s.Programs + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + s.Dir, "LANG=C.UTF-8"}, s.env...)
	cmd.Dir = s.Dir
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", line(command), err, strings.TrimSpace(problem.String()))
	}
	return out.String(), nil
}

// read runs a client and decodes the JSON that it prints.
func (s *Story) read(ctx context.Context, v any, command ...string) error {
	out, err := s.quiet(ctx, command...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("read what %s printed: %w", command[0], err)
	}
	return nil
}

// until looks again and again, at most for a while. What it looks at says how far it is.
func (s *Story) until(ctx context.Context, limit time.Duration, look func() (done bool, state string, err error)) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		done, state, err := look()
		if err != nil {
			return time.Since(began), err
		}
		s.progress("%4.0fs  %s", time.Since(began).Seconds(), state)
		if done {
			return time.Since(began), nil
		}
		select {
		case <-ctx.Done():
			return time.Since(began), fmt.Errorf("after %s: %s", time.Since(began).Round(time.Second), state)
		case <-tick.C:
		}
	}
}

// write puts a file of the story where its commands find it.
func (s *Story) write(name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(s.Dir, name), data, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// play runs the parts in order on a fresh lab and takes the lab away afterwards, whatever happens.
func (s *Story) play(ctx context.Context, parts ...func(context.Context) error) (err error) {
	for name, data := range map[string][]byte{"cluster.yaml": clusterFile, "inflate.yaml": inflateFile} {
		if err := s.write(name, data); err != nil {
			return err
		}
	}
	began := time.Now()
	defer func() {
		s.tell("The lab is taken down")
		err = errors.Join(err, s.Lab.Down(context.WithoutCancel(ctx)))
		if err == nil {
			s.print(fmt.Sprintf("\nAll %d claims were checked, in %s.", s.checked, time.Since(began).Round(time.Second)))
		}
	}()
	s.tell("A VPC and a cluster, from eksctl's own file")
	s.print("$ berth lab up -f cluster.yaml")
	if err := s.Lab.Up(ctx, filepath.Join(s.Dir, "cluster.yaml")); err != nil {
		return err
	}
	if s.env, err = s.Lab.Env(ctx); err != nil {
		return err
	}
	for _, part := range parts {
		err := part(ctx)
		if ctx.Err() != nil { // the client that was cut off is not to blame
			return errors.New("interrupted")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func indent(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	const most = 40
	if len(lines) > most {
		lines = append(lines[:most:most], fmt.Sprintf("... and %d lines more", len(lines)-most))
	}
	return "   " + strings.Join(lines, "\n   ")
}

// line is a command as a shell takes it.
func line(command []string) string {
	words := make([]string, len(command))
	for i, w := range command {
		words[i] = w
		if strings.ContainsAny(w, " \"'[]{}*?&|;") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
