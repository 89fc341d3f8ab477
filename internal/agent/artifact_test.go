package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
)

// folderOf makes a folder with files, and opens it.
func folderOf(t *testing.T, files map[string]string) (string, *os.Root) {
	t.Helper()
	folder := t.TempDir()
	write(t, folder, files)
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return folder, root
}

func write(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestArtifactsAreWhatChanged(t *testing.T) {
	folder, root := folderOf(t, map[string]string{"same": "1", "edited": "1", "stealthy": "1", "replaced": "1", "gone": "1", ".git/x": "1"})
	before, err := look(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	then := before.files["stealthy"].modified
	write(t, folder, map[string]string{"edited": "22", "stealthy": "2", "deep/er/new": "333", ".git/y": "2", "node_modules/z": "2", "tmp": "1"})
	err = errors.Join(
		os.Chtimes(filepath.Join(folder, "stealthy"), then, then), os.Rename(filepath.Join(folder, "tmp"), filepath.Join(folder, "replaced")),
		os.Remove(filepath.Join(folder, "gone")), os.Symlink("/etc/passwd", filepath.Join(folder, "link")), syscall.Mkfifo(filepath.Join(folder, "pipe"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	keep := filepath.Join(t.TempDir(), "run")
	artifacts, warnings, err := collect(t.Context(), root, before, keep, 100)
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	var got []string
	for _, a := range artifacts {
		got = append(got, fmt.Sprintf("%s %s %d %v", a.Change, a.Path, a.Bytes, a.Kept))
	}
	if want := "created deep/er/new 3 true, modified edited 2 true, modified replaced 1 true, modified stealthy 1 true"; strings.Join(got, ", ") != want {
		t.Errorf("%s\nnot %s", strings.Join(got, ", "), want)
	}
	if sum := "556d7dc3a115356350f1f9910b1af1ab0e312d4b3e4fc788d2da63668f36d017"; artifacts[0].SHA256 != sum { // sha256sum of 333
		t.Errorf("its sum is %s", artifacts[0].SHA256)
	}
	data, err := os.ReadFile(filepath.Join(keep, "deep/er/new"))
	if err != nil || string(data) != "333" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestArtifactsHaveACap(t *testing.T) {
	folder, root := folderOf(t, nil)
	before, err := look(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	write(t, folder, map[string]string{"a": "12345", "b": "1234567", "c": "12345"})
	keep := filepath.Join(t.TempDir(), "run")
	artifacts, warnings, err := collect(t.Context(), root, before, keep, 10)
	if err != nil || len(artifacts) != 3 || len(warnings) != 1 || warnings[0] != warnNotKept {
		t.Fatalf("%v, %v, %v", artifacts, warnings, err)
	}
	for i, kept := range []bool{true, false, true} {
		if artifacts[i].Kept != kept || (artifacts[i].SHA256 != "") != kept {
			t.Errorf("%+v", artifacts[i])
		}
	}
	if _, err := os.Stat(filepath.Join(keep, "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is too large is there: %v", err)
	}
}

// TestAFileThatGrowsWhileItIsKept isn't kept beyond the cap.
func TestAFileThatGrowsWhileItIsKept(t *testing.T) {
	_, from := folderOf(t, map[string]string{"a": "123456789"})
	folder, to := folderOf(t, nil)
	a := Artifact{Path: "a", Bytes: 3} // as it was looked at
	if err := a.copy(from, to, 5); !errors.Is(err, errGrown) || a.Kept {
		t.Errorf("%v, %+v", err, a)
	}
	if entries, err := os.ReadDir(folder); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestAFolderThatWasCut names only what was changed since.
func TestAFolderThatWasCut(t *testing.T) {
	now := time.Now()
	before := snapshot{files: map[string]stamp{}, cut: true, taken: now}
	after := snapshot{files: map[string]stamp{"old": {changed: now.Add(-time.Hour)}, "new": {changed: now.Add(time.Second)}}}
	if got := before.changes(after); len(got) != 1 || got[0].Path != "new" {
		t.Errorf("%v", got)
	}
}

func TestArtifactsAreOpened(t *testing.T) {
	r := &Runner{options: Options{Folder: t.TempDir()}}
	secret := filepath.Join(t.TempDir(), "secret")
	kept := filepath.Join(r.options.Folder, "key_1", artifactsFolder, "run")
	write(t, kept, map[string]string{"a/b": "123"})
	if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Symlink(secret, filepath.Join(kept, "link")), syscall.Mkfifo(filepath.Join(kept, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	file, a, err := r.Artifact("key_1", "run", "a/b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if data, err := io.ReadAll(file); err != nil || string(data) != "123" || a.Bytes != 3 || a.Path != "a/b" {
		t.Errorf("%q, %+v, %v", data, a, err)
	}
	for _, c := range []struct{ key, run, path string }{
		{"key_2", "run", "a/b"}, {"key_1", "other", "a/b"}, {"key_1", "run", "a"}, {"key_1", "run", "link"}, {"key_1", "run", "pipe"},
		{"key_1", "run", "../run/a/b"}, {"key_1", "run", "/etc/passwd"}, {"key_1", "../key_1", "a/b"}, {"..", "run", "a/b"}, {"key_1", "run", ""},
	} {
		file, _, err := r.Artifact(c.key, c.run, c.path)
		if e := apierror.From(err); e == nil || e.Code != apierror.CodeNotFound {
			t.Errorf("%+v: %v", c, err)
		}
		if file != nil {
			_ = file.Close()
			t.Errorf("%+v is open", c)
		}
	}
}
