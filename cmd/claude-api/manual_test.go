package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inShell has a shell run a text, with claude-api in its PATH and the script for its
// completion at $COMPLETION, in a folder with one file. It gives the lines.
func inShell(t *testing.T, shell, text string, args ...string) []string {
	t.Helper()
	path := tool(t, shell)
	completion, folder := filepath.Join(t.TempDir(), "completion"), t.TempDir()
	write(t, completion, command(t, environment(t), "completion", shell)+"\n")
	write(t, filepath.Join(folder, "certificate.pem"), "")
	cmd := exec.CommandContext(within(t), path, append([]string{"-c", text, shell}, args...)...)
	cmd.Env = append(environment(t), "PATH="+filepath.Dir(own(t))+":/usr/bin:/bin", "COMPLETION="+completion)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// completions are what every shell offers for the last word.
var completions = []struct {
	line string
	want []string
}{
	{"claude-api ser", []string{"serve", "service"}},
	{"claude-api keys re", []string{"revoke"}},
	{"claude-api keys create --project-id p --prof", []string{"--profile"}},
	{"claude-api serve --confine ", []string{"auto", "off", "require"}},
	{"claude-api completion f", []string{"fish"}},
	{"claude-api serve --tls-cert cert", []string{"certificate.pem"}},
	{"claude-api nonsense no", []string{""}},
}

// Bash is asked as it asks itself when a person presses Tab: through compgen's use of the
// function that the script registers, once for each line.
func TestCompletionBash(t *testing.T) {
	// compgen -F calls it as the editor of lines does, but has no words of its own.
	const ask = `source "$COMPLETION"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
files=0; compopt() { files=1; }
_claude_api; if [ $files = 1 ]; then compgen -f -- "${COMP_WORDS[COMP_CWORD]}"; else printf '%s\n' "${COMPREPLY[@]}"; fi
complete -p claude-api >&2`
	for _, c := range append(slices.Clone(completions), struct {
		line string
		want []string
	}{"claude-api serve --confine = re", []string{"require"}}) { // it breaks words at =
		got := inShell(t, "bash", ask, strings.Split(c.line, " ")...)
		if last := len(got) - 1; got[last] != "complete -F _claude_api claude-api" || !slices.Equal(slices.Sorted(slices.Values(got[:last])), c.want) {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

// Zsh's own function that shows candidates prints them here.
func TestCompletionZsh(t *testing.T) {
	const ask = `compdef() { print -r -- "registered $*" >&2 }
_describe() { print -rl -- "${(@)${(P)@[-1]}%%:*}" }
_files() { print -rl -- ${words[CURRENT]}*(N) }
source "$COMPLETION" 2>/dev/null; words=("$@"); CURRENT=$#; _claude_api`
	for _, c := range completions {
		if got := inShell(t, "zsh", ask, strings.Split(c.line, " ")...); !slices.Equal(slices.Sorted(slices.Values(got)), c.want) {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

// Fish completes a line that it is given.
func TestCompletionFish(t *testing.T) {
	for _, c := range completions {
		var got []string
		for _, line := range inShell(t, "fish", `source "$COMPLETION"; complete --do-complete "$argv[2]"`, c.line) {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}

// TestManPages has two programs read all pages that people read with one of them.
func TestManPages(t *testing.T) {
	folder := t.TempDir()
	env := environment(t)
	command(t, env, "man", "--dir="+folder)
	pages, err := filepath.Glob(filepath.Join(folder, "*.1"))
	if err != nil || len(pages) < 15 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	// A build of tests knows no date.
	out, _ := exec.CommandContext(within(t), tool(t, "mandoc"), append([]string{"-Tlint", "-Wwarning"}, pages...)...).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "missing date") {
			t.Errorf("mandoc: %s", line)
		}
	}
	man := exec.CommandContext(within(t), tool(t, "man"), "--warnings", "-l", filepath.Join(folder, "claude-api-serve.1"))
	man.Env = append(env, "MANWIDTH=100", "LC_ALL=C.UTF-8")
	var complaints strings.Builder
	man.Stderr = &complaints
	out, err = man.Output()
	if err != nil || complaints.Len() > 0 {
		t.Errorf("man: %v %s", err, complaints.String())
	}
	for _, want := range []string{"CLAUDE-API-SERVE(1)", "--shutdown-timeout=", "Variable: CLAUDE_API_LISTEN.", "Default: ~/.claude-api."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// Nothing of the machine that made them.
	home := strings.TrimPrefix(env[1], "HOME=")
	for _, page := range pages {
		if text, err := os.ReadFile(page); err != nil || strings.Contains(string(text), home) {
			t.Errorf("%s: %v, or it knows this machine", page, err)
		}
	}
}

func TestVersionSaysWhereItComesFrom(t *testing.T) {
	out := command(t, environment(t), "--version")
	if !strings.HasPrefix(out, "claude-api 0.1.0, ") || !strings.Contains(out, ", go1.") {
		t.Errorf("--version prints %q", out)
	}
}
