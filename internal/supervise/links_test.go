package supervise

import (
	"os"
	"path/filepath"
	"testing"
)

// A link in the data folder has nothing written elsewhere: the folder may be another
// user's than who starts the service.
func TestNoFileIsWrittenBehindALink(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(elsewhere, []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBackground(Options{DataDir: t.TempDir()})
	for _, path := range []string{b.pid, b.pid + ".new", b.log, b.lock} {
		if err := os.Symlink(elsewhere, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.write(record{PID: 1, URL: "http://127.0.0.1:1"}); err != nil {
		t.Error(err)
	}
	if info, err := os.Lstat(b.pid); err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if file, err := b.openLog(); err == nil {
		_ = file.Close()
		t.Error("the log is opened behind a link")
	}
	if err := b.locked(func() error { return nil }); err == nil {
		t.Error("the lock is opened behind a link")
	}
	if text, err := os.ReadFile(elsewhere); err != nil || string(text) != "as it was" {
		t.Errorf("written elsewhere: %q, %v", text, err)
	}
}
