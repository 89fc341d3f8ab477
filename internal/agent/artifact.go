package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

const (
	// walkFiles and walkTime bound each look at a run's folder.
	walkFiles = 50_000
	walkTime  = 5 * time.Second
	// maxArtifacts bounds what an outcome names.
	maxArtifacts = 10_000
)

// How a file became an artifact.
const (
	changeCreated  = "created"
	changeModified = "modified"
)

const (
	warnCut       = "the folder is too large to be compared whole: artifacts may be missing"
	warnArtifacts = "there are more artifacts than can be named"
	warnNotKept   = "not every artifact's content was kept: together they are too large"
)

// leftOut are folders in which no artifacts are looked for.
var leftOut = []string{".git", "node_modules"}

// stamp tells whether a file was changed: whoever writes to one can set its time of
// modification, but not that of its inode's change.
type stamp struct {
	bytes             int64
	modified, changed time.Time
	inode             uint64
}

// snapshot is what a folder holds: the regular files, by path with slashes.
type snapshot struct {
	files map[string]stamp
	cut   bool // there are more
	taken time.Time
}

// look takes a snapshot of a folder, within bounds. It follows no links.
func look(ctx context.Context, root *os.Root) (snapshot, error) {
	s := snapshot{files: map[string]stamp{}, taken: time.Now()}
	seen := 0
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if seen++; seen > walkFiles || time.Since(s.taken) > walkTime {
			s.cut = true
			return fs.SkipAll
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return skip(d) // gone meanwhile, or not to be read: no artifact either
		case d.IsDir() && slices.Contains(leftOut, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		if info, err := d.Info(); err == nil {
			s.files[path] = stampOf(info)
		}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("look at the run's folder: %w", err)
	}
	return s, nil
}

func skip(d fs.DirEntry) error {
	if d != nil && d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// changes are the artifacts between two snapshots, by path, with nothing kept yet.
// Where the earlier one was cut, only files that were changed since count.
func (s snapshot) changes(later snapshot) []Artifact {
	var artifacts []Artifact
	for path, now := range later.files {
		before, was := s.files[path]
		a := Artifact{Path: path, Bytes: now.bytes, Change: changeCreated, Modified: now.modified}
		switch {
		case was && before == now, s.cut && !was && now.changed.Before(s.taken):
			continue
		case was:
			a.Change = changeModified
		}
		artifacts = append(artifacts, a)
	}
	slices.SortFunc(artifacts, func(a, b Artifact) int { return strings.Compare(a.Path, b.Path) })
	return artifacts
}

// collect finds what a run has changed in its folder since a snapshot and keeps the
// contents in another one, which is made where there are any. What couldn't be kept
// or found is in the warnings.
func collect(ctx context.Context, root *os.Root, before snapshot, keep string, most int64) (artifacts []Artifact, warnings []string, err error) {
	after, err := look(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	artifacts = before.changes(after)
	if before.cut || after.cut {
		warnings = append(warnings, warnCut)
	}
	if len(artifacts) > maxArtifacts {
		artifacts, warnings = artifacts[:maxArtifacts], append(warnings, warnArtifacts)
	}
	if len(artifacts) == 0 {
		return nil, warnings, nil
	}
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return artifacts, warnings, fmt.Errorf("make the artifacts' folder: %w", err)
	}
	kept, err := os.OpenRoot(keep)
	if err != nil {
		return artifacts, warnings, fmt.Errorf("open the artifacts' folder: %w", err)
	}
	defer func() { _ = kept.Close() }()
	full := false
	for i := range artifacts {
		a := &artifacts[i]
		if ctx.Err() != nil || a.Bytes > most {
			full = true
			continue
		}
		if err := a.copy(root, kept, most); err != nil {
			full = true
			continue
		}
		most -= a.Bytes
	}
	if full {
		warnings = append(warnings, warnNotKept)
	}
	return artifacts, warnings, nil
}

var errGrown = errors.New("it has grown beyond what is kept")

// copy keeps an artifact's content, of at most so many bytes. The file may have
// become anything meanwhile.
func (a *Artifact) copy(from, to *os.Root, most int64) error {
	source, err := openRegular(from, a.Path)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if folder := filepath.Dir(a.Path); folder != "." {
		if err := to.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("make an artifact's folder: %w", err)
		}
	}
	target, err := to.OpenFile(a.Path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep an artifact: %w", err)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(target, sum), io.LimitReader(source, most+1))
	if err == nil && n > most {
		err = errGrown
	}
	if err = errors.Join(err, target.Close()); err != nil {
		return fmt.Errorf("keep an artifact: %w", errors.Join(err, to.Remove(a.Path)))
	}
	a.Bytes, a.SHA256, a.Kept = n, hex.EncodeToString(sum.Sum(nil)), true
	return nil
}

var errNotRegular = errors.New("isn't a regular file")

// openRegular opens a regular file below a root, without following a link out of it
// and without waiting for a pipe's other end.
func openRegular(root *os.Root, path string) (*os.File, error) {
	file, err := root.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, fmt.Errorf("open a file: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a file: %w", err), file.Close())
	}
	return file, nil
}

// Artifact opens a kept artifact, which whoever reads it closes. The path is as in the
// outcome; of the Artifact that comes with it only Path, Bytes, Kept and Modified are
// known. The error is an apierror.Error with code not_found where there is none.
func (r *Runner) Artifact(keyID, runID, path string) (io.ReadCloser, Artifact, error) {
	missing := func(err error) error {
		return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Message: "there is no such artifact", Cause: err}
	}
	if !isName(keyID) || !isName(runID) || !fs.ValidPath(path) {
		return nil, Artifact{}, missing(errName)
	}
	root, err := os.OpenRoot(filepath.Join(r.options.Folder, keyID, artifactsFolder, runID))
	if err != nil {
		return nil, Artifact{}, missing(err)
	}
	defer func() { _ = root.Close() }() // the file stays open
	file, err := openRegular(root, path)
	if err != nil {
		return nil, Artifact{}, missing(err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, Artifact{}, missing(errors.Join(err, file.Close()))
	}
	return file, Artifact{Path: path, Bytes: info.Size(), Kept: true, Modified: info.ModTime()}, nil
}
