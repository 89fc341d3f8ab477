package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestReadme holds README's table of settings against the flags: each has a row
// that names its variables, and each row is of a flag or of a variable alone.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "<!-- config -->")
	table, _, closed := strings.Cut(table, "<!-- /config -->")
	if !closed {
		t.Fatal("there is no table")
	}
	rows := map[string]string{}
	for line := range strings.Lines(table) {
		if name, rest, found := strings.Cut(strings.TrimPrefix(line, "| `--"), "` |"); found && strings.HasPrefix(line, "| `--") {
			rows[name] = rest
		}
	}
	var c commandLine
	parser, err := kong.New(&c, kong.Vars{"data_dir": "/default"})
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Children[0].Flags {
		row, found := rows[flag.Name]
		delete(rows, flag.Name)
		if !found {
			t.Errorf("README has no row of --%s", flag.Name)
		}
		for _, name := range flag.Envs {
			if !strings.Contains(row, "`"+name+"`") {
				t.Errorf("README's row of --%s doesn't name %s", flag.Name, name)
			}
		}
	}
	for name := range rows {
		t.Errorf("README has a row of --%s, which is no flag", name)
	}
}
