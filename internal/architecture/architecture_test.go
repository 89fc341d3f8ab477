package architecture_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "claude-code-api-service"
)

// imported is one import in a file that isn't a test.
type imported struct {
	path string // as it is written
	at   string // file and line
}

// packages reads the imports of every package of the module, whatever system a
// file is built for, by folder.
func packages(t *testing.T) map[string][]imported {
	t.Helper()
	found := map[string][]imported{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipped(file, entry.Name())
		case !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		imports, err := importsOf(file)
		found[filepath.ToSlash(folder)] = append(found[filepath.ToSlash(folder)], imports...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// skipped leaves out what the go command leaves out: hidden folders, testdata
// and other modules.
func skipped(folder, name string) error {
	if folder == root {
		return nil
	}
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func importsOf(file string) ([]imported, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var imports []imported
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		position := files.Position(spec.Pos())
		imports = append(imports, imported{name, fmt.Sprintf("%s:%d", filepath.Clean(position.Filename), position.Line)})
	}
	return imports, nil
}

func TestEveryPackageImportsWhatItsRoomMay(t *testing.T) {
	table, found := rooms(), packages(t)
	for folder, imports := range found {
		from, known := table[folder]
		if !known {
			t.Errorf("%s isn't in the table of rooms: add it there, to docs/architecture.md and to docs/layout.md", folder)
			continue
		}
		for _, i := range imports {
			if why := refusal(table, from, i.path); why != "" {
				t.Errorf("%s: %s imports %s: %s", i.at, folder, i.path, why)
			}
		}
	}
	for folder := range table {
		if _, exists := found[folder]; !exists {
			t.Errorf("the table has %s, which doesn't exist", folder)
		}
	}
}

// refusal says why a room may not import a path, "" when it may.
func refusal(table map[string]room, from room, name string) string {
	if own, ok := strings.CutPrefix(name, module+"/"); ok {
		if table[own].tests && !from.tests {
			return "it is for tests only"
		}
		if !slices.Contains(from.may, strings.TrimPrefix(own, "internal/")) {
			return "its room may not"
		}
		return ""
	}
	first, _, _ := strings.Cut(name, "/")
	if !strings.Contains(first, ".") {
		return "" // the standard library
	}
	for _, allowed := range from.outside {
		if name == allowed || strings.HasPrefix(name, allowed+"/") {
			return ""
		}
	}
	return "its room may not use that module"
}

// TestTheTableKeepsItsOwnRules checks the table itself, so that nobody makes
// room for an import by writing it down.
func TestTheTableKeepsItsOwnRules(t *testing.T) {
	table := rooms()
	for folder, from := range table {
		program := strings.HasPrefix(folder, "cmd/")
		for _, name := range from.may {
			own := "internal/" + name
			if _, outside := table[name]; outside {
				own = name
			}
			to, exists := table[own]
			switch {
			case !exists:
				t.Errorf("%s may import %s, which isn't in the table", folder, own)
			case name == "app" && !program:
				t.Errorf("%s may import app: only cmd may", folder)
			case name == "config" && !program && folder != "internal/app":
				t.Errorf("%s may import config: only app and cmd may; others take an Options struct", folder)
			case to.row != "" && to.row == from.row && !beside(folder, own):
				t.Errorf("%s may import %s, which stands beside it", folder, own)
			}
		}
	}
}

func TestNamesSayWhatARoomIsFor(t *testing.T) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "types", "misc", "shared", "lib"}
	for folder := range packages(t) {
		for part := range strings.SplitSeq(folder, "/") {
			if slices.Contains(empty, part) {
				t.Errorf("%s: %q says nothing of what is in there", folder, part)
			}
		}
	}
}

// TestTheLayoutPageNamesEveryPackage keeps docs/layout.md true in both
// directions.
func TestTheLayoutPageNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "layout.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		// A line of the page's tables: | `folder/` | what is in it |
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			folder, _, _ := strings.Cut(rest, "`")
			named[path.Clean(folder)] = true
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(folder))); err != nil {
				t.Errorf("docs/layout.md names %s, which doesn't exist", folder)
			}
		}
	}
	for folder := range packages(t) {
		if !named[folder] {
			t.Errorf("docs/layout.md doesn't name %s", folder)
		}
	}
}

func TestRefusal(t *testing.T) {
	table := map[string]room{
		"internal/app":      {may: []string{"message"}, outside: []string{"example.com/lib"}},
		"internal/message":  {},
		"internal/sse":      {},
		"internal/faketest": {tests: true, may: []string{"othertest"}},
		"internal/othertest": {
			tests: true,
		},
	}
	for _, test := range []struct {
		name, from, path string
		refused          bool
	}{
		{"the standard library", "internal/app", "net/http", false},
		{"what is listed", "internal/app", module + "/internal/message", false},
		{"what isn't listed", "internal/app", module + "/internal/sse", true},
		{"what doesn't exist", "internal/app", module + "/internal/ss", true},
		{"a room for tests", "internal/app", module + "/internal/faketest", true},
		{"a room for tests from another", "internal/faketest", module + "/internal/othertest", false},
		{"a listed module", "internal/app", "example.com/lib", false},
		{"below a listed module", "internal/app", "example.com/lib/sub", false},
		{"a module whose name begins like a listed one", "internal/app", "example.com/library", true},
		{"a module that isn't listed", "internal/message", "example.com/lib", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if why := refusal(table, table[test.from], test.path); (why != "") != test.refused {
				t.Errorf("refusal = %q, want one: %t", why, test.refused)
			}
		})
	}
}
