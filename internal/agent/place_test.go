package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const aSession = "11111111-2222-4333-8444-555555555555"

// TestNamesLeadNowhere tries to leave a key's folder by each name that a caller could
// have a hand in.
func TestNamesLeadNowhere(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc", "a\x00b", ".hidden", "a b"} {
		if _, err := r.place(name); !errors.Is(err, errName) {
			t.Errorf("key %q: %v", name, err)
		}
		if err := r.Forget("key_1", "", name); !errors.Is(err, errName) {
			t.Errorf("run %q: %v", name, err)
		}
		if name != "" {
			if err := r.Forget("key_1", name, "run"); !errors.Is(err, errName) {
				t.Errorf("workspace %q: %v", name, err)
			}
		}
		if err := r.ForgetSession("key_1", name); !errors.Is(err, errName) {
			t.Errorf("session %q: %v", name, err)
		}
		if _, err := r.Transcript("key_1", name); !errors.Is(err, errName) {
			t.Errorf("transcript %q: %v", name, err)
		}
		if err := r.Restore("key_1", "", name, aSession, nil); !errors.Is(err, errName) {
			t.Errorf("restore into %q: %v", name, err)
		}
		if _, _, err := r.Artifact("key_1", name, "file"); err == nil {
			t.Errorf("artifact of run %q: no error", name)
		}
	}
	if !isSession(NewSession()) || !isWorkspace(newName()) {
		t.Error("its own names aren't taken")
	}
}

func TestTranscriptsMoveBetweenMachines(t *testing.T) {
	here, there := &Runner{options: Options{Folder: t.TempDir()}}, &Runner{options: Options{Folder: t.TempDir()}}
	if err := here.Restore("key_1", "/srv/project", "", aSession, []byte("one\n")); err != nil {
		t.Fatal(err)
	}
	data, err := here.Transcript("key_1", aSession)
	if err != nil || string(data) != "one\n" {
		t.Fatalf("%q, %v", data, err)
	}
	if _, err := here.Transcript("key_2", aSession); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another key's: %v", err)
	}
	if err := there.Restore("key_1", "", "0123456789abcdef", aSession, data); err != nil {
		t.Fatal(err)
	}
	if err := there.Restore("key_1", "", "0123456789abcdef", aSession, []byte("older")); err != nil {
		t.Fatal(err)
	}
	if data, err = there.Transcript("key_1", aSession); err != nil || string(data) != "one\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := there.ForgetSession("key_1", aSession); err != nil {
		t.Fatal(err)
	}
	if _, err := there.Transcript("key_1", aSession); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a forgotten one: %v", err)
	}
}

// TestATranscriptThatLeadsElsewhere isn't read: what a run's tools wrote may be a link.
func TestATranscriptThatLeadsElsewhere(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	p, err := r.place("key_1")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(p.projects(), "-srv")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.Symlink(secret, filepath.Join(folder, aSession+".jsonl"))); err != nil {
		t.Fatal(err)
	}
	if data, err := r.Transcript("key_1", aSession); err == nil {
		t.Errorf("read %q", data)
	}
}

func TestForgetRemovesWhatCantBeWritten(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	p, err := r.place("key_1")
	if err != nil {
		t.Fatal(err)
	}
	workspace, err := p.workspace("0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	inner := filepath.Join(workspace, "cache")
	if err := errors.Join(os.Mkdir(inner, 0o700), os.WriteFile(filepath.Join(inner, "file"), nil, 0o400), os.Chmod(inner, 0o500)); err != nil { //nolint:gosec // a folder
		t.Fatal(err)
	}
	if err := r.Forget("key_1", "0123456789abcdef", "run"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(workspace); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestEmptyWorkspacesAreSwept that a killed service's spares had, and no others.
func TestEmptyWorkspacesAreSwept(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	p, err := r.place("key_1")
	if err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * forgottenAfter)
	for name, keep := range map[string]bool{"0000000000000001": false, "0000000000000002": true, "0000000000000003": true, "another": true} {
		path := filepath.Join(p.folder, workFolder, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if name == "0000000000000002" { // in use
			write(t, path, map[string]string{"file": "x"})
		}
		if name != "0000000000000003" { // a new one
			if err := os.Chtimes(path, long, long); err != nil {
				t.Fatal(err)
			}
		}
		defer func() {
			if _, err := os.Stat(path); (err == nil) != keep {
				t.Errorf("%s: %v", name, err)
			}
		}()
	}
	r.sweep()
}

// TestATranscriptThatIsNone isn't waited for, and not read into memory whole.
func TestATranscriptThatIsNone(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	p, err := r.place("key_1")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.projects(), "-srv", aSession+".jsonl")
	if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Transcript("key_1", aSession); !errors.Is(err, errNotRegular) {
		t.Errorf("a pipe: %v", err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600), os.Truncate(path, maxTranscript+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Transcript("key_1", aSession); !errors.Is(err, errGrown) {
		t.Errorf("a huge one: %v", err)
	}
}

// TestForgetFollowsNoLinks: a run's shell can write where the CLI keeps sessions.
func TestForgetFollowsNoLinks(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	p, err := r.place("key_1")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := t.TempDir()
	write(t, elsewhere, map[string]string{aSession + ".jsonl": "another's"})
	if err := os.Symlink(elsewhere, filepath.Join(p.projects(), "-srv")); err != nil {
		t.Fatal(err)
	}
	_ = r.ForgetSession("key_1", aSession) // whether it says something is no matter
	if _, err := os.Stat(filepath.Join(elsewhere, aSession+".jsonl")); err != nil {
		t.Error(err)
	}
}

// TestAFolderThatLeadsElsewhere by a link at its end or before isn't opened.
func TestAFolderThatLeadsElsewhere(t *testing.T) {
	top := t.TempDir()
	folder := filepath.Join(top, "a", "b")
	err := errors.Join(os.MkdirAll(folder, 0o700), os.Symlink("b", filepath.Join(top, "a", "link")), os.Symlink("a", filepath.Join(top, "by")), os.Symlink("/", filepath.Join(top, "root")))
	if err != nil {
		t.Fatal(err)
	}
	root, err := openFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	_ = root.Close()
	for _, path := range []string{"a/link", "by/b", "root", "none", "root/etc"} {
		if root, err := openFolder(filepath.Join(top, path)); err == nil {
			t.Errorf("%s was opened", path)
			_ = root.Close()
		}
	}
}
