package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// command is a program of the machine with its arguments. No shell reads it.
type command []string

func (c command) String() string { return strings.Join(c, " ") }

// commandTimeout bounds what asks a service manager. A stop takes as long as requests
// take to end, 45 s in the units.
const commandTimeout = 2 * time.Minute

// run runs a command to its end and gives what it printed. What it says of a failure is
// in the error.
func (c command) run(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c[0], c[1:]...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if text := strings.TrimSpace(complaints.String()); text != "" {
			return out.String(), fmt.Errorf("%s: %w: %s", c, err, text)
		}
		return out.String(), fmt.Errorf("%s: %w", c, err)
	}
	return out.String(), nil
}

// show runs a command whose output is a person's, until ctx ends.
func (c command) show(ctx context.Context, w io.Writer) error {
	cmd := exec.CommandContext(ctx, c[0], c[1:]...)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// refused says whether a program ran and ended with an exit code of its own.
func refused(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() > 0
}
