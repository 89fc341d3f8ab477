package install

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestEnsureUsesWhatIsThere(t *testing.T) {
	folder := t.TempDir()
	want := filepath.Join(folder, "1.2.3", "node_modules", "@anthropic-ai", platformPackage(), "claude")
	if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := Ensure(t.Context(), folder, "1.2.3", func(text string) { t.Errorf("told %q, though nothing is fetched", text) })
	if err != nil || got != want {
		t.Errorf("Ensure = %q, %v, want %q", got, err, want)
	}
}

func TestEnsureRefusesRanges(t *testing.T) {
	for _, version := range []string{"", "latest", "^2.1.0", "2.1", "2.1.331 --foo", "../x"} {
		if _, err := Ensure(t.Context(), t.TempDir(), version, func(string) {}); err == nil {
			t.Errorf("version %q was accepted", version)
		}
	}
}

func TestEnsureWithoutNPM(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Ensure(t.Context(), t.TempDir(), Version, func(string) {}); !errors.Is(err, ErrNoNPM) {
		t.Errorf("err = %v, want ErrNoNPM", err)
	}
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PATH", "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(home, "cache"))
	if got := Find(); got != "" {
		t.Fatalf("Find = %q on a machine without the CLI", got)
	}
	cache, err := CacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	cached := binary(filepath.Join(cache, Version))
	if err := os.MkdirAll(filepath.Dir(cached), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cached, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Find(); got != cached {
		t.Errorf("Find = %q, want the cached %q", got, cached)
	}
	local := filepath.Join(home, ".local", "bin", "claude")
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(local, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Find(); got != local {
		t.Errorf("Find = %q, want %q", got, local)
	}
}
