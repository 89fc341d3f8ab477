package claudecli

import (
	"fmt"
	"os"
	"path/filepath"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/confine"
)

// Process is one CLI process. One goroutine at a time owns it; only Kill,
// Exited, Ending, PID and ResidentBytes may be called beside the owner. It has no
// reading goroutine: the owner reads the process's output itself, so that an
// event reaches the caller without a hand-over.
type Process struct {
	child
	folder string

	initialized bool
	// bound is what the process has been told so far. It starts with the model of
	// its argument, thinking off and the CLI's own max_tokens.
	bound     Settings
	prompts   []string // uuids of the user lines in its context, oldest first; "" for tool results
	turns     int
	offered   []string // the names of the tools that the CLI may call
	extra     string   // the extra body that is set
	announced []string // the calls of tools that the client was told about: they may stay open
	calls     []openCall
	results   map[string]any // what calls that haven't come yet are answered with
	parked    []string       // the calls that the turn waits for
	resumed   bool           // the turn has been parked before
	barred    bool           // the CLI was told of an upstream that isn't there
	before    totals         // what was spent when the turn began
	renamer   renamer
}

// Start starts a process. It doesn't wait until the process is ready: see
// Ready. The error is an apierror.Error of category CLIError.
func Start(options Options) (*Process, error) {
	options.setDefaults()
	if err := options.check(); err != nil {
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be started", err)
	}
	p := &Process{child: newChild(options)}
	p.own, p.ended = p.serve, p.removeFolder
	if err := p.spawn(); err != nil {
		p.removeFolder()
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be started", err)
	}
	return p, nil
}

func (p *Process) spawn() error {
	if err := p.makeFolder(); err != nil {
		return err
	}
	return p.start(command{
		arguments:   p.options.arguments(),
		environment: p.options.environment(p.folder),
		directory:   filepath.Join(p.folder, "work"),
		rules:       func(program string) (confine.Rules, error) { return p.options.rules(program, p.folder) },
	})
}

func (p *Process) makeFolder() error {
	folder, err := os.MkdirTemp(p.options.Root, "worker-")
	if err != nil {
		return fmt.Errorf("make worker folder: %w", err)
	}
	p.folder = folder
	for _, name := range []string{"home", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			return fmt.Errorf("make worker folder: %w", err)
		}
	}
	return nil
}

func (p *Process) removeFolder() {
	if p.folder == "" {
		return
	}
	if err := os.RemoveAll(p.folder); err != nil {
		p.options.Logger.Warn("remove worker folder", "error", err)
	}
}

// Turns counts the turns that it ran.
func (p *Process) Turns() int { return p.turns }
