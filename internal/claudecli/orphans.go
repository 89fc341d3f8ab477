package claudecli

import (
	"fmt"
	"time"
)

// markerVariable carries Options.Marker. What a process starts inherits it.
const markerVariable = "CLAUDE_API_WORKER"

// agentVariable carries an id of the one Agent, for its own end.
const agentVariable = "CLAUDE_API_AGENT"

// KillMarked bounds: processes that are told to end are gone within milliseconds.
const (
	orphanTimeout = 2 * time.Second
	orphanPoll    = 5 * time.Millisecond
)

// KillMarked ends the processes of this user that were started with one of the
// markers, each with its process group, and waits until they are gone. They are
// what a service that was killed has left: the parent-death signal reaches a
// worker, not what that has started. A process is known by its environment alone,
// never by its name, and is held by a handle while it is looked at, so that no
// other one gets the signal which has come to the same id meanwhile.
//
// It doesn't find a process that has taken the marker out of its environment and
// left the group. Where another process's environment can't be read (macOS) it
// finds none: there a worker ends by itself when it reads the end of its standard
// input, and what it started stays.
func KillMarked(markers ...string) (killed int, err error) {
	return killBearing(markerVariable, markers)
}

func killBearing(variable string, values []string) (killed int, err error) {
	marked := marks(variable, values)
	ended := map[int]bool{}
	deadline := time.Now().Add(orphanTimeout)
	for {
		pids := endMarked(marked) // they may start others meanwhile
		for _, pid := range pids {
			ended[pid] = true
		}
		switch {
		case len(pids) == 0:
			return len(ended), nil
		case time.Now().After(deadline):
			return len(ended), fmt.Errorf("%d processes don't end", len(pids))
		}
		time.Sleep(orphanPoll)
	}
}

// Marked gives the processes of this user that were started with one of the markers,
// and does nothing to them. What KillMarked can't find, it doesn't either.
func Marked(markers ...string) []int { return findMarked(marks(markerVariable, markers)) }

// marks are markers as a process's environment has them.
func marks(variable string, values []string) (all []string) {
	for _, value := range values {
		if value != "" {
			all = append(all, variable+"="+value)
		}
	}
	return all
}

// endBelow ends all that a process of this service has started, and what that has, while
// the process is there and holds them together: also those that have taken the marker out
// of their environment and left the group. The process itself goes on. Where it wasn't
// started confined, or isn't on Linux, it finds those whose parents are there.
func endBelow(pid int) {
	for deadline := time.Now().Add(orphanTimeout); endChildren(pid) && time.Now().Before(deadline); {
		time.Sleep(orphanPoll)
	}
}
