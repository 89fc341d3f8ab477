// Package supervise has the service run on a machine for longer than a terminal: as a
// unit of systemd, as an agent of launchd, or, where it isn't installed as either, as a
// process in the background that a file in the data folder remembers.
package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"time"
)

// Options say which service it is. Paths are absolute.
type Options struct {
	// Program is claude-api itself.
	Program string
	// Home is the user's home.
	Home string
	// DataDir is the service's data folder.
	DataDir string
	// Config is the configuration file; "" for the one at its default place.
	Config string
}

// Status is what is known of the service from outside.
type Status struct {
	Manager string // who runs it
	State   string // running, starting, stopping, stopped, or failed
	PID     int    // 0: none
	Since   time.Time
	URL     string // "" where it isn't known
	Detail  string
	Log     string // how the log is read elsewhere
}

// The states of a Status.
const (
	Running  = "running"
	Starting = "starting"
	Stopping = "stopping"
	Stopped  = "stopped"
	Failed   = "failed"
)

// Manager runs the service. Its methods may be called by several processes at once.
type Manager interface {
	// Start returns when the service listens. It is an error that it runs already.
	Start(ctx context.Context) (Status, error)
	// Stop returns when the service has ended; ctx bounds the wait. It is ErrStopped
	// that it doesn't run.
	Stop(ctx context.Context) error
	Status(ctx context.Context) (Status, error)
	// Logs writes the last lines of the log, and with follow what comes, until ctx ends.
	Logs(ctx context.Context, w io.Writer, lines int, follow bool) error
}

var (
	// ErrRunning means that the service runs already.
	ErrRunning = errors.New("the service runs already")
	// ErrStopped means that the service doesn't run.
	ErrStopped = errors.New("the service isn't running")
)

// Find gives who runs the service on this machine: systemd or launchd where it is
// installed there, else nobody but the data folder.
func Find(o Options) Manager {
	if runtime.GOOS == "darwin" {
		if l := newLaunchd(o); exists(l.plist) {
			return l
		}
	}
	if booted() {
		units := []*systemd{newSystemd(o, true), newSystemd(o, false)}
		if os.Geteuid() == 0 {
			units[0], units[1] = units[1], units[0]
		}
		for _, s := range units {
			if s.installed() {
				return s
			}
		}
	}
	return newBackground(o)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
