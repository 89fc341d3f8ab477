package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// lookEvery is how often a log is looked at that is followed.
const lookEvery = 200 * time.Millisecond

// tail writes the last lines of a file, and with follow what comes, until ctx ends. A
// file that is put aside for a new one is left for that.
func tail(ctx context.Context, w io.Writer, path string, lines int, follow bool) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no log yet: %w", err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	if err := toLastLines(file, lines); err != nil {
		return err
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if _, err := io.Copy(w, file); err != nil || !follow {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if next := another(file, path); next != nil {
			_, err := io.Copy(w, file)
			_ = file.Close() // it was only read
			if file = next; err != nil {
				return err
			}
		}
	}
}

// another gives the file that is now at the path, nil where it is the same one.
func another(file *os.File, path string) *os.File {
	was, err := file.Stat()
	if err != nil {
		return nil
	}
	is, err := os.Stat(path)
	if err != nil || os.SameFile(was, is) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

// toLastLines goes to where a file's last lines begin, reading it from its end.
func toLastLines(file *os.File, lines int) error {
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	var block [32 << 10]byte
	at, found := end, 0
	for at > 0 && found <= lines {
		n := min(int64(len(block)), at)
		at -= n
		if _, err := file.ReadAt(block[:n], at); err != nil {
			return err
		}
		for i := n - 1; i >= 0; i-- {
			// The break at the very end ends the last line and begins none.
			if block[i] != '\n' || at+i == end-1 {
				continue
			}
			if found++; found == lines {
				_, err := file.Seek(at+i+1, io.SeekStart)
				return err
			}
		}
	}
	if lines <= 0 {
		return nil // at its end
	}
	_, err = file.Seek(0, io.SeekStart)
	return err
}
