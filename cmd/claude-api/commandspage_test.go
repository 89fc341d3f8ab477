package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

const commandsIntro = "# Commands\n\n" +
	"One binary serves, administers what is in the service's database, and calls a running service. `claude-api COMMAND --help` says what stands here, " +
	"`claude-api man` prints it as man pages, and `claude-api completion` completes it in a shell ([install](install.md)). This page is written by a test from the program itself.\n\n" +
	"Three kinds of commands ask for different things:\n\n" +
	"- `keys`, `projects`, `profiles`, `budgets`, `usage` and `audit` work on the database, so they take its `--data-dir` or `--database-url`, and need no service that runs " +
	"([keys](keys.md)).\n" +
	"- `process`, `batch`, `route`, `providers`, `models` and `tasks` call a running service at `--url` with a key, which is in `CLAUDE_API_KEY` or a file; `health` needs none.\n" +
	"- `workers` and `top` call one with a key that administers it (`keys create --project-id operations --admin`), in `CLAUDE_API_ADMIN_KEY` or a file.\n\n" +
	"A listing is a table for people, in colours where the output is a terminal and `NO_COLOR` isn't set, and JSON or CSV for programs (`--output`, [for programs](keys.md#for-programs)). " +
	"Progress is shown on standard error, where that is a terminal.\n\n"

// commandsPage writes docs/commands.md from the model of the command line.
func commandsPage(t *testing.T) []byte {
	t.Helper()
	app, err := newModel()
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	page.WriteString(commandsIntro)
	page.WriteString("## Exit codes\n\n| code | |\n|---|---|\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&page, "| %d | %s |\n", e.code, inCell(e.what))
	}
	page.WriteString("\n## Flags of every command\n\n")
	flagsTable(&page, app.Flags)
	for _, n := range app.Children {
		if n.Type == kong.CommandNode && !n.Hidden {
			commandSection(&page, n, 2)
		}
	}
	return page.Bytes()
}

// commandSection writes a command and those below it.
func commandSection(page *bytes.Buffer, n *kong.Node, level int) {
	name := strings.TrimPrefix(n.FullPath(), "claude-api ")
	fmt.Fprintf(page, "\n%s %s\n\n%s\n", strings.Repeat("#", level), name, inText(n.Help))
	if n.Detail != "" {
		fmt.Fprintf(page, "\n%s\n", inText(n.Detail))
	}
	if n.Leaf() {
		usage := "claude-api " + name
		for _, p := range n.Positional {
			usage += " " + p.Summary()
		}
		fmt.Fprintf(page, "\n```\n%s [flags]\n```\n", usage)
	}
	if len(n.Positional) > 0 {
		page.WriteString("\n| argument | |\n|---|---|\n")
		for _, p := range n.Positional {
			fmt.Fprintf(page, "| `%s` | %s%s |\n", p.Summary(), inCell(p.Help), words(p))
		}
	}
	if len(n.Flags) > 0 {
		page.WriteByte('\n')
		flagsTable(page, n.Flags)
	}
	for _, child := range n.Children {
		if child.Type == kong.CommandNode && !child.Hidden {
			commandSection(page, child, level+1)
		}
	}
}

func flagsTable(page *bytes.Buffer, flags []*kong.Flag) {
	page.WriteString("| flag | default | variable | |\n|---|---|---|---|\n")
	for _, f := range flags {
		if f.Hidden {
			continue
		}
		name := "`--" + f.Name + "`"
		if f.Short != 0 {
			name = "`-" + string(f.Short) + "`, " + name
		}
		def := ""
		if f.HasDefault && f.Default != "" && (!f.IsBool() || f.Default != "false") {
			def = "`" + f.Default + "`"
		}
		if f.Required {
			def = "required"
		}
		variables := ""
		for i, name := range f.Envs {
			if i > 0 {
				variables += ", "
			}
			variables += "`" + name + "`"
		}
		fmt.Fprintf(page, "| %s | %s | %s | %s%s |\n", name, inCell(def), variables, inCell(f.Help), words(f.Value))
	}
}

// words names what a value may be, where the model says so and the help doesn't.
func words(v *kong.Value) string {
	var list []string
	for _, word := range v.EnumSlice() {
		if word != "" && !strings.Contains(v.Help, word) {
			list = append(list, "`"+word+"`")
		}
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// inText keeps Markdown from reading what isn't meant for it.
func inText(text string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "*", "\\*", "$", "\\$").Replace(text)
}

// inCell is inText for a cell of a table.
func inCell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(inText(text))
}

// TestCommandsPage holds docs/commands.md against the command line: every command and
// every flag, with its help. -update writes it anew.
func TestCommandsPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "commands.md")
	want := commandsPage(t)
	if *updatePages {
		if err := os.WriteFile(path, want, 0o644); err != nil { //nolint:gosec // a page is for everybody
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("docs/commands.md isn't as the program is%s; go test ./cmd/claude-api -run TestCommandsPage -update writes it anew", pageDifference(string(got), string(want)))
	}
}

func pageDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return ", line " + strconv.Itoa(i+1) + " is\n" + g[i] + "\nand should be\n" + w[i] + "\n"
		}
	}
	return ", which has " + strconv.Itoa(len(w)) + " lines"
}

// TestEveryListing checks that whatever prints records prints them in every form, and that
// the commands of the former service are all there.
func TestEveryListing(t *testing.T) {
	app, err := newModel()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]*kong.Node{}
	for _, leaf := range app.Leaves(true) {
		have[strings.TrimPrefix(leaf.FullPath(), "claude-api ")] = leaf
	}
	for _, name := range strings.Fields("serve demo simulator") {
		if have[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	for group, names := range map[string]string{
		"keys": "create list revoke permissions test provision", "service": "start stop status logs install", "health": "check ping deps",
		"usage": "summary by-model by-project costs export", "workers": "status list kill", "tasks": "list get cancel logs",
		"agents": "list info search", "skills": "list info search", "process": "send", "batch": "run", "route": "recommend", "providers": "list",
	} {
		for _, name := range strings.Fields(names) {
			if have[group+" "+name] == nil {
				t.Errorf("there is no %s %s", group, name)
			}
		}
	}
	for name, leaf := range have {
		last := name[strings.LastIndex(name, " ")+1:]
		switch last {
		case "list", "deps", "permissions", "summary", "by-model", "by-project", "by-day", "by-key", "costs", "search", "info", "recommend", "ping", "check", "get":
		default:
			continue
		}
		forms := ""
		for _, f := range leaf.Flags {
			if f.Name == "output" {
				forms = f.Enum
			}
		}
		want := "table,json,csv"
		if name == "process get" {
			want = "text,json" // one answer
		}
		if !strings.HasPrefix(forms, want) {
			t.Errorf("%s prints %q, not %s", name, forms, want)
		}
	}
}
