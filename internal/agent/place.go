package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
)

// The folders of one key, below Options.Folder/<key id>.
const (
	projectsFolder  = "projects"  // what the CLI keeps of sessions
	workFolder      = "work"      // workspaces
	artifactsFolder = "artifacts" // by run
)

var (
	// isName tells what may be the name of a folder here: ids that the service makes,
	// of keys and runs. None of them begins with a dot or holds a separator.
	isName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,127}$`).MatchString
	// isWorkspace tells what newName makes.
	isWorkspace = regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString
	// isSession tells the CLI's ids of sessions.
	isSession = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString
)

var errName = errors.New("isn't a name that the service has given")

func newName() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return hex.EncodeToString(random[:])
}

// NewSession makes an id for a session of the CLI.
func NewSession() string { return claudecli.NewUUID() }

// place is what is kept of one key's runs on this machine.
type place struct{ folder string }

// place gives a key's. Its folders are made where they aren't there.
func (r *Runner) place(keyID string) (place, error) {
	if !isName(keyID) {
		return place{}, fmt.Errorf("key id %q %w", keyID, errName)
	}
	p := place{filepath.Join(r.options.Folder, keyID)}
	for _, name := range []string{projectsFolder, workFolder, artifactsFolder} {
		if err := os.MkdirAll(filepath.Join(p.folder, name), 0o700); err != nil {
			return place{}, fmt.Errorf("make the folders of agentic work: %w", err)
		}
	}
	return p, nil
}

// projects is where the CLI keeps the key's sessions.
func (p place) projects() string { return filepath.Join(p.folder, projectsFolder) }

// workspace gives the folder of a workspace, which is made where it isn't there: it
// may be another machine's.
func (p place) workspace(name string) (string, error) {
	if !isWorkspace(name) {
		return "", fmt.Errorf("workspace %q %w", name, errName)
	}
	path := filepath.Join(p.folder, workFolder, name)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make the workspace: %w", err)
	}
	return path, nil
}

// openFolder opens a folder by a path that was looked at: it holds no links. One that
// does by now was changed by somebody whom the folder belongs to, and leads elsewhere.
func openFolder(path string) (*os.Root, error) {
	root, err := os.OpenRoot("/")
	if err != nil {
		return nil, fmt.Errorf("open a folder: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue // the path is /
		}
		inner, err := step(root, name)
		_ = root.Close() // it was only read
		if err != nil {
			return nil, err
		}
		root = inner
	}
	return root, nil
}

var errLeadsElsewhere = errors.New("leads elsewhere now")

// step opens a folder in another one, unless it is a link.
func step(root *os.Root, name string) (*os.Root, error) {
	named, err := root.Lstat(name)
	if err == nil && named.Mode()&fs.ModeSymlink != 0 {
		err = errLeadsElsewhere
	}
	if err != nil {
		return nil, fmt.Errorf("open a folder: %s: %w", name, err)
	}
	inner, err := root.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open a folder: %w", err)
	}
	opened, err := inner.Stat(".")
	if err == nil && !os.SameFile(opened, named) { // it became one in between
		err = errLeadsElsewhere
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a folder: %s: %w", name, err), inner.Close())
	}
	return inner, nil
}

// Forget removes what is kept of an ended run: its workspace, "" where it has none,
// and its artifacts. What isn't there is no error.
func (r *Runner) Forget(keyID, workspace, runID string) error {
	if !isName(keyID) || !isName(runID) || workspace != "" && !isWorkspace(workspace) {
		return fmt.Errorf("forget run %q of key %q: it %w", runID, keyID, errName)
	}
	folder := filepath.Join(r.options.Folder, keyID)
	err := removeAll(filepath.Join(folder, artifactsFolder, runID))
	if workspace != "" {
		err = errors.Join(err, removeAll(filepath.Join(folder, workFolder, workspace)))
	}
	return err
}

// ForgetSession removes what the CLI has kept of a session that has no live process.
func (r *Runner) ForgetSession(keyID, session string) error {
	if !isName(keyID) || !isSession(session) {
		return fmt.Errorf("forget session %q of key %q: it %w", session, keyID, errName)
	}
	// What the CLI's tools may have put there must not lead elsewhere.
	root, err := os.OpenRoot(filepath.Join(r.options.Folder, keyID, projectsFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the session's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	found, err := fs.Glob(root.FS(), "*/"+session+"*")
	if err != nil {
		return fmt.Errorf("find the session: %w", err)
	}
	var errs []error
	for _, path := range found {
		if err := root.RemoveAll(path); err != nil {
			errs = append(errs, fmt.Errorf("remove the session: %w", err))
		}
	}
	return errors.Join(errs...)
}

// forgottenAfter is how old an empty workspace is that nobody will come back for: a
// process that waited for a run was killed with the service.
const forgottenAfter = 24 * time.Hour

// sweep removes empty workspaces that a killed service has left. Those with something
// in them go with their runs.
func (r *Runner) sweep() {
	found, err := filepath.Glob(filepath.Join(r.options.Folder, "*", workFolder, "*"))
	if err != nil {
		return
	}
	for _, path := range found {
		info, err := os.Lstat(path)
		if err == nil && info.IsDir() && isWorkspace(filepath.Base(path)) && time.Since(info.ModTime()) > forgottenAfter {
			_ = os.Remove(path) // only if it is empty
		}
	}
}

// removeAll removes a folder, also those in it that may not be written: caches of
// package managers are such.
func removeAll(path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(inner string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() { // links to folders aren't
			_ = os.Chmod(inner, 0o700) //nolint:gosec // a folder needs its x
		}
		return nil
	})
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("remove what a run has left: %w", err)
	}
	return nil
}

// Transcript reads what the CLI has kept of a session: the file of which Restore makes
// it on another machine. There is fs.ErrNotExist where there is none.
func (r *Runner) Transcript(keyID, session string) ([]byte, error) {
	if !isName(keyID) || !isSession(session) {
		return nil, fmt.Errorf("session %q of key %q: it %w", session, keyID, errName)
	}
	// What the CLI's tools may have put there must not lead elsewhere.
	root, err := os.OpenRoot(filepath.Join(r.options.Folder, keyID, projectsFolder))
	if err != nil {
		return nil, fmt.Errorf("open the session's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	found, err := fs.Glob(root.FS(), "*/"+session+".jsonl")
	if err != nil || len(found) == 0 {
		return nil, errors.Join(err, fmt.Errorf("session %s: %w", session, fs.ErrNotExist))
	}
	file, err := openRegular(root, found[0])
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, maxTranscript+1))
	if err == nil && len(data) > maxTranscript {
		err = errGrown
	}
	if err != nil {
		return nil, fmt.Errorf("read the session: %w", err)
	}
	return data, nil
}

// maxTranscript bounds what is read of a session, in bytes. A run's tools may have
// written to it.
const maxTranscript = 128 << 20

// Restore keeps a session's transcript for runs in a directory, or in a workspace
// where that is "", unless it is there already. Both are as in a Spec.
func (r *Runner) Restore(keyID, directory, workspace, session string, transcript []byte) error {
	p, err := r.place(keyID)
	if err != nil {
		return err
	}
	if !isSession(session) {
		return fmt.Errorf("session %q %w", session, errName)
	}
	if directory == "" {
		if directory, err = p.workspace(workspace); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(p.projects())
	if err != nil {
		return fmt.Errorf("open the session's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	folder := projectName(directory)
	if err := root.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the session's folder: %w", err)
	}
	file, err := root.OpenFile(folder+"/"+session+".jsonl", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	_, err = file.Write(transcript)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the session: %w", err)
	}
	return nil
}

var foreignToProject = regexp.MustCompile(`[^a-zA-Z0-9]`)

// projectName is what the CLI calls the folder in which it keeps the sessions of a
// working directory (seen with both versions; it cuts paths of more than 200
// characters in its own way).
func projectName(directory string) string { return foreignToProject.ReplaceAllString(directory, "-") }

// errOfFolder is one of the folder that a caller has named.
func errOfFolder(err error) error {
	if !errors.Is(err, errLeadsElsewhere) {
		return errOfMachine(err)
	}
	return &apierror.Error{Category: apierror.Permission, Param: "working_directory", Message: "working_directory: leads elsewhere now", Cause: err}
}

// errOfMachine is an error of this machine's, for the caller.
func errOfMachine(err error) error {
	return apierror.Wrap(apierror.Internal, "the run's folders can't be made", err)
}
