package app

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"claude-code-api-service/internal/claudecli"
)

// runFolder is where one run of the service keeps its workers' folders. A lock
// tells the folders of services that run from those of services that were
// killed; those are removed, and the processes that they left are ended.
type runFolder struct {
	path, marker string
	lock         *os.File
}

const (
	runPrefix = "claude-api-run-"
	lockName  = "lock"
	// unlockedSuffix follows the name of a folder that isn't locked yet.
	unlockedSuffix = "-new"
)

// isMarker tells what newRunFolder makes.
var isMarker = regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString

func newRunFolder(parent string, log *slog.Logger) (*runFolder, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make the workers' folder: %w", err)
	}
	removeLeftovers(parent, log)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	marker := hex.EncodeToString(random[:])
	run := &runFolder{path: filepath.Join(parent, runPrefix+marker), marker: marker}
	// It gets its name when it is locked: another service that starts would take it for
	// one that was left.
	unlocked := run.path + unlockedSuffix
	if err := os.Mkdir(unlocked, 0o700); err != nil {
		return nil, fmt.Errorf("make the workers' folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(unlocked, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the workers' folder: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(unlocked, run.path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the workers' folder: %w", err), lock.Close())
	}
	run.lock = lock
	return run, nil
}

// remove ends what the workers have started and left behind, and removes their
// folders. The workers themselves have ended.
func (r *runFolder) remove() error {
	_, err := claudecli.KillMarked(r.marker)
	return errors.Join(err, os.RemoveAll(r.path), r.lock.Close())
}

// removeLeftovers ends the processes and removes the folders of this user's runs
// that hold no lock any more. What can't be ended or removed is left for the next
// start.
func removeLeftovers(parent string, log *slog.Logger) {
	folders, err := filepath.Glob(filepath.Join(parent, runPrefix+"*"))
	if err != nil {
		return
	}
	for _, folder := range folders {
		marker := strings.TrimPrefix(filepath.Base(folder), runPrefix)
		if !isMarker(marker) || !isOwn(folder) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR, 0)
		if err != nil {
			continue // another service removes it
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			removeLeftover(folder, marker, log)
		}
		_ = lock.Close()
	}
}

func removeLeftover(folder, marker string, log *slog.Logger) {
	killed, err := claudecli.KillMarked(marker)
	if killed > 0 {
		log.Warn("ended processes that a former run of the service had left", "processes", killed, "run", marker)
	}
	if err != nil {
		log.Error("end processes of a former run", "run", marker, "error", err)
		return // the folder names them
	}
	_ = os.RemoveAll(folder)
}

// isOwn says that a folder is one, and this user's: others may write to the place
// where it lies.
func isOwn(folder string) bool {
	info, err := os.Lstat(folder)
	if err != nil || !info.IsDir() {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}
