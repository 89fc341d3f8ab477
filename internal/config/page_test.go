package config

import (
	std "flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

const (
	pagePath   = "../../docs/configuration.md"
	readmePath = "../../README.md"
)

var updatePage = std.Bool("update", false, "write docs/configuration.md anew")

// groups are the page's, in their order: what each is about, and where there is more.
var groups = []struct{ name, text string }{
	{"Listening", "Who reaches the service, and how: [operations](operations.md)."},
	{"Data", "SQLite in a folder, or PostgreSQL for several nodes: [storage](storage.md), [scaling](scaling.md)."},
	{"The CLI", "Its processes and their queue: [architecture](architecture.md#the-life-of-a-worker). What confines them: [threat model](threat-model.md#confinement)."},
	{"Backends and models", "What serves a request, and what it costs: [prices](prices.md), [keys, limits and money](keys.md)."},
	{"Retries and fallbacks", "What happens when an upstream fails: [failures](failures.md)."},
	{"Tasks and sessions", "Work with the CLI's tools: [tasks](tasks.md), [sessions](sessions.md)."},
	{"Stopping", "How long requests may take, and how the service ends: [operations](operations.md)."},
	{"Logs and notifications", "[Logs, metrics, traces](observability.md), with the `OTEL_…` variables that name a collector; [webhook](webhook.md)."},
}

// besides are the variables that are no flags, because a command line shows its
// arguments to everybody, or because others than the service have named them.
var besides = []struct{ name, file, text string }{
	{"ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY_FILE", "The credential for the upstream."},
	{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN_FILE", "The same, as a bearer token."},
	{"ANTHROPIC_BASE_URL", "", "The upstream of both backends; `https://api.anthropic.com` by default."},
	{"CLAUDE_API_WEBHOOK_SECRET", "CLAUDE_API_WEBHOOK_SECRET_FILE", "Signs what is sent to `--webhook-url`: `whsec_` and 24 to 64 bytes in base64."},
	{FileVariable, "", "The YAML file with these settings, as `--config`; else `config.yaml` in the data folder's default place, where there is one."},
}

func serveFlags(t *testing.T) []*kong.Flag {
	t.Helper()
	var c struct {
		Serve struct {
			Config `embed:""`
		} `cmd:""`
	}
	parser, err := kong.New(&c, kong.Vars{"data_dir": "~/.claude-api"})
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model.Children[0].Flags
}

// liveFlags are the settings that hold once a running service has read them again.
func liveFlags(of reflect.Type) map[string]bool {
	found := map[string]bool{}
	for f := range of.Fields() {
		switch {
		case f.Anonymous:
			for name := range liveFlags(f.Type) {
				found[name] = true
			}
		case f.IsExported() && live[f.Name]:
			found[strings.TrimPrefix(flag(f), "--")] = true
		}
	}
	return found
}

// writePage writes docs/configuration.md.
func writePage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Written from the code: go test ./internal/config -update -->

Every setting of ` + "`claude-api serve`" + ` is a flag, a variable and a line of a YAML file. Flags win over the environment, and that over the
file: ` + "`--config`, `CLAUDE_API_CONFIG`" + `, else ` + "`config.yaml`" + ` in the data folder's default place. In the file a setting has its flag's name without
the dashes in front ([all of them](#the-file)). A variable that is set to nothing counts as one that isn't set.

Times are seconds, or have a unit: ` + "`90`, `1.5`, `90s`, `30m`, `720h`" + `. Names without ` + "`CLAUDE_API_`" + ` are those of the service that this one replaces.

A setting with ↻ holds as soon as a running service reads it again (SIGHUP); the others need a start
([operations](operations.md#reading-the-configuration-again)).
`)
	flags, again := serveFlags(t), liveFlags(reflect.TypeFor[Config]())
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| setting | default | |\n|---|---|---|\n", g.name, g.text)
		for _, f := range flags {
			if groupOf(f) == g.name {
				b.WriteString(row(f, again[f.Name]))
			}
		}
	}
	b.WriteString("\n## Variables alone\n\nA command line shows its arguments to everybody, so secrets are no flags. A variable with `_FILE` names a file that holds the value.\n\n| variable | |\n|---|---|\n")
	for _, v := range besides {
		file := ""
		if v.file != "" {
			file = "<br>`" + v.file + "`"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s |\n", v.name, file, v.text)
	}
	b.WriteString("\n## The file\n\nAll settings with their defaults. A line without a value sets nothing. `pool: {reuse: never}` is `pool-reuse: never`, and `_` may stand for `-`.\n\n```yaml\n")
	for _, g := range groups {
		fmt.Fprintf(&b, "# %s\n", g.name)
		for _, f := range flags {
			if groupOf(f) == g.name {
				b.WriteString(line(f))
			}
		}
	}
	b.WriteString("```\n")
	return b.String()
}

func groupOf(f *kong.Flag) string {
	if f.Group == nil {
		return ""
	}
	return f.Group.Title
}

// asCode are words of a flag's help that are code.
var asCode = regexp.MustCompile(`--[a-z][a-z-]+|/v1/[a-z]+|/ready|X-Claude-[A-Z][a-z]+|CLAUDE_API_[A-Z_]+…?|unix:/path|https?://[a-z.]+|postgres://[a-z:@/]+|[A-Z]+=MODEL;NAME=MODEL|FAILED:INSTEAD|(cli|opus):[a-z]+|claude-api\.db|working_directory|cache_control`)

// row is a setting in the page's table.
func row(f *kong.Flag, again bool) string {
	names := []string{"`--" + f.Name + "`"}
	for _, name := range f.Envs {
		names = append(names, "`"+name+"`")
	}
	value := f.Default
	if f.IsBool() {
		value = map[bool]string{true: "on", false: "off"}[value == "true"]
	}
	if value != "" {
		value = "`" + value + "`"
	}
	mark := ""
	if again {
		mark = " ↻"
	}
	help := asCode.ReplaceAllString(strings.ReplaceAll(f.Help, "|", `\|`), "`$0`")
	return fmt.Sprintf("| %s | %s | %s%s |\n", strings.Join(names, "<br>"), value, help, mark)
}

// line is a setting in the file. The data folder's default is a place in a home, which
// only the program knows.
func line(f *kong.Flag) string {
	value := f.Default
	switch {
	case f.Name == "data-dir":
		value = "# " + value
	case f.Name == "socket-mode":
		value = `"` + value + `"` // without quotes YAML reads a number in decimal
	case f.IsBool() && value == "":
		value = "false"
	}
	return strings.TrimSpace(f.Name+": "+value) + "\n"
}

// TestPage holds docs/configuration.md against the flags: it is what the code gives,
// every flag is in a group of it, and its file is one that the program reads.
func TestPage(t *testing.T) {
	want := writePage(t)
	if *updatePage {
		if err := os.WriteFile(pagePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/configuration.md isn't what the code gives; write it anew with: go test ./internal/config -update")
	}
	for _, f := range serveFlags(t) {
		if f.Name == "help" {
			continue
		}
		if !strings.Contains(want, "| `--"+f.Name+"`") || !strings.Contains(want, "\n"+f.Name+":") {
			t.Errorf("--%s isn't on the page: its group is %q", f.Name, groupOf(f))
		}
		for _, name := range f.Envs {
			if !strings.Contains(want, "<br>`"+name+"`") {
				t.Errorf("%s isn't on the page", name)
			}
		}
	}
	_, file, _ := strings.Cut(want, "```yaml\n")
	file, _, _ = strings.Cut(file, "```")
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Serve struct {
			Config `embed:""`
		} `cmd:""`
	}
	parser, err := kong.New(&c, kong.Vars{"data_dir": "/default"}, kong.Resolvers(read))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range serveFlags(t) {
		for _, name := range f.Envs {
			if value, set := os.LookupEnv(name); set { // those of this machine don't count
				t.Setenv(name, value)
				_ = os.Unsetenv(name)
			}
		}
	}
	if _, err := parser.Parse([]string{"serve"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Serve.Validate(); err != nil {
		t.Error(err)
	}
}

// TestBesides: what is read beside the flags is read under the names of the page.
func TestBesides(t *testing.T) {
	asked := map[string]bool{}
	getenv := func(name string) string { asked[name] = true; return "" }
	if _, err := ReadAnthropic(getenv); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWebhookSecret(getenv); err != nil {
		t.Fatal(err)
	}
	asked[FileVariable] = true // which the program reads
	for _, v := range besides {
		for _, name := range []string{v.name, v.file} {
			if !asked[name] && name != "" {
				t.Errorf("%s isn't read", name)
			}
			delete(asked, name)
		}
	}
	for name := range asked {
		t.Errorf("%s isn't on the page", name)
	}
}

// TestReadme holds README's table of the settings that are used most against the flags:
// each row is of a flag and names all of its variables, or of a variable alone. The
// whole list is docs/configuration.md.
func TestReadme(t *testing.T) {
	page, err := os.ReadFile(readmePath)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "<!-- config -->")
	table, _, closed := strings.Cut(table, "<!-- /config -->")
	if !closed {
		t.Fatal("there is no table")
	}
	if !strings.Contains(table, "](docs/configuration.md)") {
		t.Error("README's table doesn't lead to docs/configuration.md")
	}
	flags, count := serveFlags(t), 0
	for line := range strings.Lines(table) {
		name, rest, found := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		if !found || !strings.HasPrefix(line, "| `") {
			continue
		}
		count++
		i := slices.IndexFunc(flags, func(f *kong.Flag) bool { return "--"+f.Name == name })
		if i < 0 {
			if !slices.ContainsFunc(besides, func(v struct{ name, file, text string }) bool { return v.name == name }) {
				t.Errorf("README has a row of %s, which is neither a flag nor a variable", name)
			}
			continue
		}
		for _, name := range flags[i].Envs {
			if !strings.Contains(rest, "`"+name+"`") {
				t.Errorf("README's row of --%s doesn't name %s", flags[i].Name, name)
			}
		}
		if value := flags[i].Default; value != "" && !strings.Contains(rest, "`"+value+"`") {
			t.Errorf("README's row of --%s doesn't have its default, %s", flags[i].Name, value)
		}
	}
	if count < 8 {
		t.Errorf("README's table has %d rows", count)
	}
}
