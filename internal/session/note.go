package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/archive"
)

// note says what of a session lies on this machine: by it a node knows whether its own
// file of the conversation is the latest, and what is to be removed of sessions that
// have expired.
type note struct {
	CLI       string
	Workspace string
	Turns     int
	Size      int // of the transcript, in bytes
}

// notesFolder is a key's, below Options.Folder/<key id>.
const notesFolder = "sessions"

func (s *Sessions) notePath(keyID, id string) (string, error) {
	for _, name := range []string{keyID, id} {
		if name == "" || name != filepath.Base(name) || !filepath.IsLocal(name) {
			return "", fmt.Errorf("%q can't be the name of a file", name)
		}
	}
	return filepath.Join(s.options.Folder, keyID, notesFolder, id), nil
}

// noted reads a session's note; false where there is none that can be read.
func (s *Sessions) noted(keyID, id string) (n note, ok bool) {
	path, err := s.notePath(keyID, id)
	if err != nil {
		return n, false
	}
	body, err := os.ReadFile(path) //nolint:gosec // a path that this package has made
	return n, err == nil && json.Unmarshal(body, &n) == nil
}

// note writes a session's note.
func (s *Sessions) note(d *document, size int) error {
	path, err := s.notePath(d.KeyID, d.ID)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		var body []byte
		if body, err = json.Marshal(note{CLI: d.CLI, Workspace: d.Workspace, Turns: d.Turns, Size: size}); err == nil {
			err = write(path, body)
		}
	}
	if err != nil {
		return internal("the session can't be kept", err)
	}
	return nil
}

// write has a file be all of the body or what it was.
func write(path string, body []byte) error {
	if err := os.WriteFile(path+".new", body, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *Sessions) forgetNote(keyID, id string) error {
	path, err := s.notePath(keyID, id)
	if err == nil {
		err = os.Remove(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// SweepEvery is how often Sweep looks for sessions that have expired.
const SweepEvery = time.Hour

// Sweep removes what is on this machine of sessions that have expired or were deleted
// on another one, at once and then every SweepEvery, until ctx ends. Run it once, in its
// own goroutine.
func (s *Sessions) Sweep(ctx context.Context) {
	ticker := time.NewTicker(SweepEvery)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Sessions) sweep(ctx context.Context) {
	paths, err := filepath.Glob(filepath.Join(s.options.Folder, "*", notesFolder, "sess_*"))
	if err != nil {
		return // the pattern is well formed
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < SweepEvery {
			continue // its session may be about to be kept
		}
		keyID, id := filepath.Base(filepath.Dir(filepath.Dir(path))), filepath.Base(path)
		_, err := s.archive.Get(ctx, kindSession, keyID, id)
		if !errors.Is(err, archive.ErrNotFound) {
			continue // it is there, or it isn't known
		}
		n, ok := s.noted(keyID, id)
		if !ok {
			_ = s.forgetNote(keyID, id) // nothing can be made of it
			continue
		}
		if err := s.forget(ctx, &document{Session: Session{ID: id}, KeyID: keyID, CLI: n.CLI, Workspace: n.Workspace}); err != nil {
			s.log.Warn("what an expired session has left can't be removed", "session", id, "error", err)
		}
	}
}
