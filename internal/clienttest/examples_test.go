package clienttest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// examples is where the programs are that the pages show.
const examples = "../../examples"

// Variables that make it a failure, where they are 1, that OpenAI's package for Python isn't
// there, and that Python itself isn't.
const (
	requireOpenAI = "CLAUDE_API_TEST_REQUIRE_OPENAI"
	requirePython = "CLAUDE_API_TEST_REQUIRE_TOOLS"
)

// example is a program, and what it must print: of the simulator, which repeats what it
// is asked.
type example struct {
	command []string
	env     []string
	prints  string
}

const riversAndLake = "Echo: Name three rivers.\nEcho: Name a lake.\n"

// TestExamples runs every program of the folder examples against a service with the real
// CLI and an imitated upstream.
func TestExamples(t *testing.T) {
	if !*clients {
		t.Skip("SKIPPED: make test-clients runs the examples")
	}
	// First, because the service wants none of the machine's variables.
	list := map[string]example{}
	for name, prints := range map[string]string{
		"process": "Echo: Name three rivers.\n(… tokens)\nEcho: Name a lake.\n",
		"batch":   "0: Echo: Name a river.\nlake: Echo: Name a lake.\n2: Echo: Name a mountain.\n… tokens\n",
		"task":    "it uses Bash: {\"command\":\"echo Rhine > rivers.txt\"}\nit asks for Bash: allowed\nThere they are.\ncreated rivers.txt (6 bytes)\n",
	} {
		command := []string{buildExample(t, name)}
		if name == "task" {
			command = append(command, `[[tool=Bash input={"command":"echo Rhine > rivers.txt"}]] [[then]] [[text=There they are.]]`)
		}
		list["go/"+name] = example{command: command, prints: prints}
	}
	node := node(t)
	for _, name := range []string{"chat.mjs", "plain.mjs"} {
		list["javascript/"+name] = example{command: []string{node, besideClients(t, name)}, prints: riversAndLake}
	}
	if python, variables := python(t); python != "" {
		for name, prints := range map[string]string{"chat.py": riversAndLake + "Echo: Name a mountain.\n", "plain.py": riversAndLake} {
			list["python/"+name] = example{command: []string{python, absolute(t, filepath.Join(examples, "python", name))}, env: variables, prints: prints}
		}
	}
	allThere(t, list)
	s := newStand(t)
	for name, e := range list {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(within(t), e.command[0], e.command[1:]...)
			cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "NO_PROXY=*", "URL=" + s.app.URL(), "KEY=" + s.key}, e.env...)
			cmd.Dir = t.TempDir()
			var errs strings.Builder
			cmd.Stderr = &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s%s", err, out, errs.String())
			}
			if got := withoutNumbers(string(out)); got != e.prints {
				t.Errorf("it prints\n%s\nwant\n%s", got, e.prints)
			}
		})
	}
}

// withoutNumbers hides how many tokens something took.
func withoutNumbers(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		before, found := strings.CutSuffix(strings.TrimSuffix(line, ")"), " tokens")
		if number := strings.TrimPrefix(before, "("); found && number != "" && strings.Trim(number, "0123456789") == "" {
			lines[i] = strings.Replace(line, number, "…", 1)
		}
	}
	return strings.Join(lines, "\n")
}

// allThere fails for a program of the folder that no test runs.
func allThere(t *testing.T, list map[string]example) {
	t.Helper()
	for _, pattern := range []string{"go/*", "javascript/*.mjs", "python/*.py"} {
		found, err := filepath.Glob(filepath.Join(examples, pattern))
		if err != nil || found == nil {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		language, _, _ := strings.Cut(pattern, "/")
		for _, path := range found {
			name := language + "/" + filepath.Base(path)
			if _, run := list[name]; !run && (language != "python" || list["python/plain.py"].command != nil) {
				t.Errorf("nothing runs %s", name)
			}
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	full, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return full
}

func buildExample(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../examples/go/"+name).CombinedOutput()
	if err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

// besideClients puts a program of JavaScript where Node.js finds the installed clients.
func besideClients(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, "javascript", name))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(absolute(t, filepath.Join(folder, "node_modules")), filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// python finds the interpreter, and says what it needs in its environment to find OpenAI's
// package: nothing where that is installed, else testdata/python, which stands in for it.
func python(t *testing.T) (path string, variables []string) {
	t.Helper()
	require := os.Getenv(requireOpenAI) == "1"
	// The one behind what PATH has, which may be a script that needs more than this test
	// gives it.
	out, err := exec.CommandContext(t.Context(), "python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		if require || os.Getenv(requirePython) == "1" {
			t.Fatalf("Python is required here: %v", err)
		}
		t.Logf("SKIPPED: the examples in Python: %v", err)
		return "", nil
	}
	path = strings.TrimSpace(string(out))
	if err := exec.CommandContext(t.Context(), path, "-c", "import openai").Run(); err == nil {
		t.Log("the examples in Python use OpenAI's own package")
		return path, nil
	}
	if require {
		t.Fatal("OpenAI's package for Python is required here: pip install openai")
	}
	t.Log("the examples in Python use a stand-in for OpenAI's package, testdata/python: the package isn't installed")
	return path, []string{"PYTHONPATH=" + absolute(t, filepath.Join("testdata", "python")), "PYTHONDONTWRITEBYTECODE=1"}
}
