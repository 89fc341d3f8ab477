package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Plan is what an installation would do, for a person to look at before it does.
type Plan struct {
	files    []file
	before   []command // before files are removed
	removed  []string
	commands []command // after files are written or removed
	// Next is what to do then.
	Next string
}

// file is one that is written.
type file struct {
	path, text string
	// keep leaves a file alone that is there: it is the operator's.
	keep bool
}

// Print shows the plan.
func (p *Plan) Print(w io.Writer) error {
	var b strings.Builder
	for _, c := range p.before {
		fmt.Fprintf(&b, "run %s\n", c)
	}
	for _, path := range p.removed {
		fmt.Fprintf(&b, "remove %s\n", path)
	}
	for _, f := range p.files {
		switch former, err := os.ReadFile(f.path); {
		case err == nil && (f.keep || string(former) == f.text):
			fmt.Fprintf(&b, "keep %s as it is\n", f.path)
			continue
		case err == nil:
			fmt.Fprintf(&b, "replace %s:\n", f.path)
		default:
			fmt.Fprintf(&b, "write %s:\n", f.path)
		}
		for line := range strings.Lines(f.text) {
			b.WriteString("    " + line)
		}
	}
	for _, c := range p.commands {
		fmt.Fprintf(&b, "run %s\n", c)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Do does it.
func (p *Plan) Do(ctx context.Context) error {
	for _, c := range p.before {
		if _, err := c.run(ctx); err != nil {
			return err
		}
	}
	for _, path := range p.removed {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range p.files {
		if err := f.write(); err != nil {
			return err
		}
	}
	for _, c := range p.commands {
		if _, err := c.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// write writes the file, all of it or nothing. Service managers run as other users, so
// others may read it: there is no secret in it.
func (f file) write() error {
	former, err := os.ReadFile(f.path)
	if err == nil && (f.keep || bytes.Equal(former, []byte(f.text))) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	return replaceFile(f.path, []byte(f.text), 0o644)
}

// replaceFile puts a file in the place of another, all of it or nothing. Whoever may write in
// the folder can't have it written elsewhere by a link.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	unfinished := path + ".new" // of a process that was killed, if there is one
	if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}
