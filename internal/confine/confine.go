// Package confine starts programs that can do no more than they must. On Linux
// the program that uses this package starts itself first; that short life, which
// is over before main, takes rights away from itself and then becomes the program.
// Why it isn't done on a thread of the service: docs/adr/0025.
package confine

import (
	"os/exec"
	"path/filepath"
	"strings"
)

// Rules say what a program may do. Paths are absolute, and stand for all that is
// below them. Those that don't exist are left out: nobody can read them either.
type Rules struct {
	Run  []string // may be read and run
	Read []string // may be read
	// Write are folders in which everything may be done, except to run what is in
	// them, and files that may be read and written.
	Write []string
	// Held are those of the paths above that were looked at: they hold no links. Where one
	// does by now, nothing is started.
	Held []string
}

// Limits of every confined program. What it has more than that is a fault. There
// is none on memory, since JavaScript engines reserve hundreds of gigabytes of
// addresses that they never use, and none on processes, which Linux counts for all
// programs of a user together.
const (
	// OpenFiles is far more than the Claude Code CLI opens, which is about 20.
	OpenFiles = 1024
	// FileBytes bounds each file that is written. No core is written at all.
	FileBytes = 1 << 30
)

// Add takes other rules in.
func (r *Rules) Add(other Rules) {
	r.Run = append(r.Run, other.Run...)
	r.Read = append(r.Read, other.Read...)
	r.Write = append(r.Write, other.Write...)
	r.Held = append(r.Held, other.Held...)
}

// Mode says how much confinement the operator wants.
type Mode string

// The modes.
const (
	Auto    Mode = "auto"    // as much as the kernel gives
	Off     Mode = "off"     // none
	Require Mode = "require" // no service without Landlock
)

// Confinement starts programs as confined as its Mode wants it and the kernel can.
// The zero one confines as Auto does. It may be used by many goroutines.
type Confinement struct{ off bool }

// New gives the confinement for a mode; "" is Auto. The error says what the
// kernel lacks that the mode requires.
func New(mode Mode) (Confinement, error) { return newOn(landlocked, mode) }

func newOn(landlocked func() error, mode Mode) (Confinement, error) {
	if mode == Require {
		if err := landlocked(); err != nil {
			return Confinement{}, err
		}
	}
	return Confinement{off: mode == Off}, nil
}

// Holds says whether Landlock's rules hold, and what holds in words, for people.
func (c Confinement) Holds() (landlock bool, what string) {
	if c.off {
		return false, "switched off; a process group"
	}
	return holds()
}

// Apply has cmd, which wasn't started yet, run confined. Rules are asked for only
// where they can hold. What it returns must be called once cmd was started, or not.
func (c Confinement) Apply(cmd *exec.Cmd, rules func() (Rules, error)) (done func(), err error) {
	if c.off {
		return func() {}, nil
	}
	return apply(cmd, rules)
}

// within says whether a path is the folder or below it.
func within(folder, path string) bool {
	inside, err := filepath.Rel(folder, path)
	return err == nil && inside != ".." && !strings.HasPrefix(inside, ".."+string(filepath.Separator))
}
