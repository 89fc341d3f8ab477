package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

// Whoever may write in the data folder can't have another file's rights changed by who
// mends it, who may be root.
func TestMendingFollowsNoLinks(t *testing.T) {
	in := healthy(t)
	elsewhere := filepath.Join(t.TempDir(), "passwd")
	for _, folder := range []string{filepath.Dir(elsewhere), filepath.Join(in.DataDir, "keys")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(elsewhere, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(in.DataDir, "keys", "a.key")
	if err := os.Symlink(elsewhere, file); err != nil {
		t.Fatal(err)
	}
	found := privateFiles(t.Context(), in)
	if len(found) != 1 || found[0].Status != Fail || found[0].Fix != nil {
		t.Errorf("a link: %+v", found)
	}

	// A link that is put there while a person is asked.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	found = privateFiles(t.Context(), in)
	if len(found) != 1 || found[0].Fix == nil {
		t.Fatalf("a file: %+v", found)
	}
	mend := found[0].Fix.Do
	if err := mend(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mended it is %v, %v", info.Mode(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, file); err != nil {
		t.Fatal(err)
	}
	if err := mend(); err == nil {
		t.Error("a link out of the folder is followed")
	}
	if info, err := os.Stat(elsewhere); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("another file is %v, %v", info.Mode(), err)
	}
}
