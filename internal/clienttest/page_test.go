package clienttest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/install"
)

// pagePath is the page that the run must give.
const pagePath = "../../docs/compatibility.md"

// outcome is what became of each check, by client and then by "feature/backend".
type outcome map[string]map[string]bool

func (o outcome) add(r result) {
	if o[r.Client] == nil {
		o[r.Client] = map[string]bool{}
	}
	o[r.Client][r.Feature+"/"+r.Backend] = r.Error == ""
}

// page writes docs/compatibility.md. version gives that of a package.
func page(o outcome, version func(name string) string) string {
	var b strings.Builder
	b.WriteString(`# Compatibility

Written by ` + "`make test-clients`" + `, which runs these clients against the service and
fails where this page isn't what it finds. Don't edit it: change the checks in
` + "`clients/` and `internal/clienttest/`" + ` and run
` + "`go test ./internal/clienttest -clients -update`" + `.

Every check runs on both backends: through Claude Code CLI ` + install.Version + ` and directly
at the Messages API. The upstream of both is the simulator
(` + "`internal/simulator`" + `), so this page says that requests, answers, streams and
errors have the shapes that each client understands, not how well a model answers.

` + "`yes`" + `: the check passes on both backends. ` + "`refused`" + `: the service refuses on purpose, and
the check sees that it does. ` + "`–`" + `: the client has no such thing. A number leads to a
note.
`)
	for _, t := range tables() {
		b.WriteString(t.page(o))
	}
	b.WriteString("\n## Versions\n\n| package | version |\n|---|---|\n")
	var names []string
	for _, t := range tables() {
		for _, c := range t.clients {
			names = append(names, c.packages...)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, version(name))
	}
	fmt.Fprintf(&b, "| Claude Code CLI | %s |\n", install.Version)
	return b.String()
}

func (t table) page(o outcome) string {
	var b, notes strings.Builder
	var numbered []string
	number := func(text string) int {
		if at := slices.Index(numbered, text); at >= 0 {
			return at + 1
		}
		numbered = append(numbered, text)
		fmt.Fprintf(&notes, "%d. %s\n", len(numbered), text)
		return len(numbered)
	}
	fmt.Fprintf(&b, "\n## %s\n\n| feature |", t.title)
	for _, c := range t.clients {
		b.WriteString(" " + c.about + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(t.clients)) + "\n")
	for _, f := range t.features {
		b.WriteString("| " + f.about + " |")
		for _, c := range t.clients {
			b.WriteString(" " + c.cell(o[c.name], f.name, number) + " |")
		}
		b.WriteString("\n")
	}
	if notes.Len() > 0 {
		b.WriteString("\n" + notes.String())
	}
	return b.String()
}

// cell is one client's cell in a feature's row.
func (c client) cell(passed map[string]bool, feature string, number func(text string) int) string {
	if reason, lacks := c.lacks[feature]; lacks {
		return fmt.Sprintf("– (%d)", number(reason))
	}
	var words []string
	for _, backend := range backends {
		word := "yes"
		reason, refused := c.refused[feature+"/"+backend]
		if !refused {
			reason, refused = c.refused[feature]
		}
		switch {
		case !passed[feature+"/"+backend]:
			word = "no"
		case refused:
			word = fmt.Sprintf("refused (%d)", number(reason))
		}
		words = append(words, word)
	}
	if words[0] == words[1] {
		return words[0]
	}
	return "CLI: " + words[0] + ", direct: " + words[1]
}

// versions gives the exact versions of the packages, from the lock file of the
// clients for Node.js and from go.mod.
func versions(t *testing.T) func(name string) string {
	t.Helper()
	found := map[string]string{}
	data, err := os.ReadFile(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		t.Fatal(err)
	}
	for path, p := range lock.Packages {
		if name, ok := strings.CutPrefix(path, "node_modules/"); ok {
			found[name] = p.Version
		}
	}
	// A test binary doesn't say what it is built of.
	modules, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(modules)) {
		if path, version, ok := strings.Cut(strings.TrimSpace(line), " v"); ok {
			found[path], _, _ = strings.Cut("v"+version, " ")
		}
	}
	return func(name string) string {
		if found[name] == "" {
			t.Errorf("no version of %s", name)
		}
		return found[name]
	}
}

// checkPage compares the page with the run, or writes it.
func checkPage(t *testing.T, o outcome) {
	t.Helper()
	want := page(o, versions(t))
	if *update {
		if err := os.WriteFile(pagePath, []byte(want), 0o644); err != nil { //nolint:gosec // a page to read
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(pagePath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/compatibility.md isn't what this run gives; write it anew with: go test ./internal/clienttest -clients -update")
	}
}
