package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestWhatServersMayRead of what their arguments name.
func TestWhatServersMayRead(t *testing.T) {
	top := t.TempDir()
	home, data := filepath.Join(top, "home"), filepath.Join(top, "srv", "data")
	t.Setenv("HOME", home)
	at := func(name string) string { return filepath.Join(top, name) }
	write(t, top, map[string]string{"home/server.js": "", "home/server/main.js": "", "srv/server.js": "", "srv/data/keys": "", "docs/a": ""})
	if err := os.Symlink(data, at("link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"docs": {at("docs")}, "home/server/main.js": {at("home/server/main.js"), at("home/server")}, "home/server.js": {at("home/server.js")}, "srv/server.js": {at("srv/server.js")},
		"srv": nil, "srv/data": nil, "srv/data/keys": nil, "link": nil, "none": nil,
	} {
		if got := namedBy(at(name), data); !slices.Equal(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
